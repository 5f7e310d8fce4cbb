{# A 128-bit id from the text of its parts, none of which is null. #}
{% macro hashed_uuid(parts) -%}
    cast(md5(concat_ws(chr(31), {{ parts | join(', ') }})) as uuid)
{%- endmacro %}
