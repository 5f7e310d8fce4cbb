{# Bayesian Knowledge Tracing with forgetting and a cap, folded over a list of answers in order.

   odds o = p / (1 - p); an answer multiplies them by the likelihood ratio
       (1 - slip) / guess if correct, slip / (1 - guess) if wrong;
   between opportunities p' = p (1 - forget) + (1 - p) learn, which in odds is
       o' = (o (1 - forget) + learn) / (o forget + 1 - learn),
   kept between (1 - cap) / cap and cap / (1 - cap). Odds neither stick at 1 nor overflow.

   `answers`: SQL of a list of booleans. Returns the odds before the first and after each answer,
   one longer than the list. The parameters are SQL expressions. #}
{% macro mastery_odds(answers, prior, learn, guess, slip, forget, cap) -%}
    list_reduce(
        list_transform(
            {{ answers }},
            lambda is_correct: [
                case when is_correct
                    then (1 - {{ slip }}) / {{ guess }}
                    else {{ slip }} / (1 - {{ guess }})
                end
            ]
        ),
        lambda odds, ratio: list_append(
            odds,
            least(
                greatest(
                    (odds[-1] * ratio[1] * (1 - {{ forget }}) + {{ learn }})
                    / (odds[-1] * ratio[1] * {{ forget }} + 1 - {{ learn }}),
                    (1 - {{ cap }}) / {{ cap }}
                ),
                {{ cap }} / (1 - {{ cap }})
            )
        ),
        [{{ prior }} / (1 - {{ prior }})]
    )
{%- endmacro %}

{% macro probability(odds) -%}
    {{ odds }} / (1 + {{ odds }})
{%- endmacro %}
