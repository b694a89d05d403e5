-- Two searches, one by meaning and one by words, joined by reciprocal rank fusion:
-- each gives a chunk 1 / (60 + its rank), so that what both find comes first, and neither needs the other's scale.
with meaning as (
  select chunk_id, rank() over (order by distance) as rank, 1 - distance as similarity
  from (
    select chunk_id, embedding <=> %(embedding)s::float8[]::vector as distance
    from searchable.chunks
    order by distance
    limit %(candidates)s
  ) as nearest
),

wording as (
  select chunk_id, rank() over (order by ts_rank_cd(terms, wanted) desc) as rank
  from searchable.chunks, websearch_to_tsquery('english', %(query)s) as wanted
  where terms @@ wanted
  order by ts_rank_cd(terms, wanted) desc
  limit %(candidates)s
)

select
  chunks.document_id,
  documents.name,
  chunks.page,
  pages.source,
  chunks.content,
  ts_headline(
    'english', chunks.content, websearch_to_tsquery('english', %(query)s),
    'StartSel=[, StopSel=], HighlightAll=true'
  ) as headline,
  wording.rank as word_rank,
  meaning.rank as meaning_rank,
  meaning.similarity,
  (coalesce(1.0 / (60 + wording.rank), 0) + coalesce(1.0 / (60 + meaning.rank), 0))::float8 as score
from searchable.chunks
  inner join searchable.pages using (document_id, page)
  inner join searchable.documents using (document_id)
  left join meaning using (chunk_id)
  left join wording using (chunk_id)
where meaning.rank is not null or wording.rank is not null
order by score desc, chunks.chunk_id
limit %(hits)s
