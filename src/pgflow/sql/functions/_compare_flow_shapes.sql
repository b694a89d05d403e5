-- List the differences of two flow shapes, step by step, as sentences; none gives an empty array.
create or replace function pgflow._compare_flow_shapes(p_local jsonb, p_db jsonb)
returns text[]
language plpgsql
stable
set search_path = ''
as $$
declare
  v_differences text[] := '{}';
  v_local_count int := jsonb_array_length(coalesce(p_local -> 'steps', '[]'));
  v_db_count int := jsonb_array_length(coalesce(p_db -> 'steps', '[]'));
  v_a jsonb;
  v_b jsonb;
  v_key text;
begin
  if v_local_count <> v_db_count then
    v_differences := v_differences || format('Step count differs: %s vs %s', v_local_count, v_db_count);
  end if;
  for v_index in 0 .. greatest(v_local_count, v_db_count) - 1 loop
    v_a := p_local -> 'steps' -> v_index;
    v_b := p_db -> 'steps' -> v_index;
    if v_a is null or v_b is null then
      v_differences := v_differences || case
        when v_a is null then format(
          'Step at index %s: missing in first shape (second has ''%s'')', v_index, v_b ->> 'slug')
        else format(
          'Step at index %s: missing in second shape (first has ''%s'')', v_index, v_a ->> 'slug')
      end;
      continue;
    end if;
    foreach v_key in array array['slug', 'stepType'] loop
      if v_a ->> v_key <> v_b ->> v_key then
        v_differences := v_differences || format(
          'Step at index %s: %s differs ''%s'' vs ''%s''',
          v_index, case v_key when 'stepType' then 'type' else v_key end, v_a ->> v_key, v_b ->> v_key);
      end if;
    end loop;
    if pgflow._sorted_texts(v_a -> 'dependencies') <> pgflow._sorted_texts(v_b -> 'dependencies') then
      v_differences := v_differences || format(
        'Step at index %s: dependencies differ [%s] vs [%s]', v_index,
        array_to_string(pgflow._sorted_texts(v_a -> 'dependencies'), ', '),
        array_to_string(pgflow._sorted_texts(v_b -> 'dependencies'), ', '));
    end if;
    foreach v_key in array array['whenUnmet', 'whenExhausted'] loop
      if v_a ->> v_key <> v_b ->> v_key then
        v_differences := v_differences || format(
          'Step at index %s: %s differs ''%s'' vs ''%s''', v_index, v_key, v_a ->> v_key, v_b ->> v_key);
      end if;
    end loop;
    foreach v_key in array array['requiredInputPattern', 'forbiddenInputPattern'] loop
      if v_a -> v_key is distinct from v_b -> v_key then
        v_differences := v_differences || format(
          'Step at index %s: %s differs ''%s'' vs ''%s''', v_index, v_key, v_a -> v_key, v_b -> v_key);
      end if;
    end loop;
  end loop;
  return v_differences;
end
$$;

comment on function pgflow._compare_flow_shapes(jsonb, jsonb) is
'The differences between two flow shapes as texts, in the order of the steps.';
