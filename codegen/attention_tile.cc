#include "codegen/attention_tile.h"

#include <algorithm>
#include <bit>

namespace exo::codegen {
namespace {

using program::Kernel;

constexpr int kTileQueries = 16;  // that share a page while it is near
constexpr int kUnroll = 2;        // a line of the cache is two vectors of f16
constexpr int64_t kLine = 64;
// A score that is not visible, and the least maximum of a chunk: exp(kMasked - kFloor) is exactly 0.
constexpr double kMasked = -1e30, kFloor = -1e29;

int64_t chunkScoresBytes() { return kAttentionChunk * 4; }

}  // namespace

AttentionShape attentionShape(int64_t queries, const Target& target) {
  const int64_t most = std::min<int64_t>(queries, kTileQueries);
  const int64_t groups = (most + target.attention_queries - 1) / target.attention_queries;
  const int64_t width = (most + groups - 1) / groups;
  return {static_cast<int>(width), static_cast<int>(std::min<int64_t>(groups, kTileQueries / width) * width)};
}

// ---- scratch: scaled queries, scores, partials, running results; one of each per query

int64_t AttentionTile::partialBytes(const Kernel& kernel) { return (cacheValueStride(attentionValueDim(kernel)) + kLanes) * 4; }

int64_t AttentionTile::scratchBytes(const Kernel& kernel) {
  const int64_t query = cacheValueStride(static_cast<int64_t>(kernel.head_dim())) * 4;
  return kTileQueries * (query + chunkScoresBytes() + 2 * partialBytes(kernel));
}

Val AttentionTile::scaledQuery(Val query) { return e_.at(e_.scratchMemory(), query * (paddedDim() * 4)); }
Val AttentionTile::scoresOf(Val query) { return e_.at(e_.at(e_.scratchMemory(), kTileQueries * paddedDim() * 4), query * chunkScoresBytes()); }
Val AttentionTile::partialOf(Val query) {
  const int64_t before = kTileQueries * (paddedDim() * 4 + chunkScoresBytes());
  return e_.at(e_.at(e_.scratchMemory(), before), query * partialBytes(kernel_));
}
Val AttentionTile::runningOf(Val query) { return partialOf(query + kTileQueries); }

int AttentionTile::blocks() const { return std::min<int>(kBlocks, std::bit_floor<unsigned>(std::max(1, e_.target.accumulators / shape_.width))); }
int AttentionTile::vectors() const { return std::min<int>(8, std::bit_floor<unsigned>(std::max(1, e_.target.accumulators / shape_.width))); }

// ---- control

/// The first group of queries meets every page first: it is the one that fetches ahead.
void AttentionTile::eachGroup(const std::function<void(Val, bool)>& body) {
  body(e_.i(0), true);
  if (shape_.queries == shape_.width) return;
  e_.each(e_.i(1), groups_, 1, [&](Val group) { body(group * shape_.width, false); });
}

void AttentionTile::eachQuery(const std::function<void(Val, Val)>& body) {
  e_.each(e_.i(0), count_, 1, [&](Val query) { body(query, partialOf(query)); });
}

/// Steps of one, kUnroll at a time; between(counter) once for as many.
Vals AttentionTile::unrolled(Val begin, Val end, const Vals& init, const Fn::Body& body, const std::function<void(Val)>& between) {
  Val middle = begin + ((end - begin) & -kUnroll);
  const Vals most = e_.loop(begin, middle, kUnroll, init, [&](Val k, Vals carried) {
    between(k);
    for (int64_t u = 0; u < kUnroll; ++u) carried = body(k + u, carried);
    return carried;
  });
  return e_.loop(middle, end, 1, most, body);
}

/// Fetches the share of a page that belongs to bytes done..done+bytes-1 of a loop over as many. A core sustains more misses in
/// several streams than in one, so the lines are taken from four quarters of the page in turn.
void AttentionTile::fetch(const Ahead& ahead, Val done, int64_t bytes) {
  if (!ahead.base.v) return;
  constexpr int64_t kStreams = 4;
  const int64_t quarter = kPageTokens / kStreams * paddedDim() * cacheElementBytes(kernel_), lines = bytes / kLine;
  Val offset = ahead.done + done;
  Val start = lines % kStreams == 0 ? shiftRight(offset, 2)
                                    : (shiftRight(offset, 2) & -kLine) + (shiftRight(offset, 6) & (kStreams - 1)) * quarter;
  for (int64_t k = 0; k < lines; ++k) {
    e_.prefetch(e_.at(e_.at(ahead.base, start), k % kStreams * quarter + k / kStreams * kLine), 2);
  }
}

// ---- queries

void AttentionTile::begin(const AttentionShape& shape, const QueryAt& query_at, Val count) {
  shape_ = shape;
  query_at_ = query_at;
  count_ = count;
  groups_ = (count + (shape.width - 1)) / e_.i(shape.width);
  e_.each(e_.i(0), groups_ * shape.width, 1, [&](Val query) {
    Val in = query_at(e_.minI(query, count - 1)).in;
    e_.columns(static_cast<int64_t>(kernel_.head_dim()), [&](Val offset, int lanes) {
      e_.store(e_.loadLanes(e_.at(in, offset * 4), lanes) * e_.fv(kernel_.scale()), e_.at(scaledQuery(query), offset * 4), 64);
    });
    reset(query);
  });
}

void AttentionTile::attend(const Span& span, Val table, Val kv_head) {
  keys(span, table, kv_head);
  e_.each(e_.i(0), count_, 1, [&](Val query) { softmax(span, query); });
  values(span, table, kv_head);
}

// ---- scores: lanes are positions

void AttentionTile::keys(const Span& span, Val table, Val kv_head) {
  const int64_t block_bytes = lineOfBlock() * static_cast<int64_t>(kernel_.head_dim()), step = kLanes * blocks();
  Val first_page = shiftRight(span.from, 6), end_page = shiftRight(span.to + (kPageTokens - 1), 6);
  e_.each(first_page, end_page, 1, [&](Val number) {
    const Page page = pageOf(e_, kernel_, e_.in(1), table, number, kv_head);
    Val is_last = number + 1 == end_page;
    const Page after = pageOf(e_, kernel_, e_.in(1), table, e_.select(is_last, first_page, number + 1), kv_head);
    Val fetch = e_.select(is_last, after.values, after.keys), start = number * kPageTokens;
    if (isLatent(kernel_)) return rowKeys(span, page.keys, number, fetch);
    Val from = e_.maxI(span.from - start, e_.i(0)) & -step;
    Val to = e_.minI(span.to - start, e_.i(kPageTokens));
    e_.each(from, to, step, [&](Val slot) {
      Val offset = shiftRight(slot, 4) * block_bytes;
      Val at_score = (start + slot - span.chunk * kAttentionChunk) * 4;
      eachGroup([&](Val group, bool first) { scores(e_.at(page.keys, offset), at_score, group, first ? Ahead{fetch, offset} : Ahead{}); });
    });
  });
}

/// q·k of `width` queries and `blocks` blocks of positions.
void AttentionTile::scores(Val column, Val at_score, Val group, const Ahead& ahead) {
  const int64_t dim = static_cast<int64_t>(kernel_.head_dim()), line = lineOfBlock();
  const int width = shape_.width, count = blocks();
  Val queries = scaledQuery(group);
  const Vals sums = unrolled(e_.i(0), e_.i(dim), Vals(width * count, e_.fv(0)), [&](Val d, Vals acc) {
    Vals key;
    for (int k = 0; k < count; ++k) key.push_back(loadCache(e_, kernel_, e_.at(e_.at(column, d * line), k * line * dim)));
    for (int q = 0; q < width; ++q) {
      Val x = e_.broadcast(e_.f32, e_.at(e_.at(queries, d * 4), q * paddedDim() * 4));
      for (int k = 0; k < count; ++k) acc[q * count + k] = e_.fma(key[k], x, acc[q * count + k]);
    }
    return acc;
  }, [&](Val d) {
    fetch(ahead, d * (count * line), kUnroll * count * line);
  });
  Val out = e_.at(scoresOf(group), at_score);
  for (int q = 0; q < width; ++q) {
    for (int k = 0; k < count; ++k) e_.store(sums[q * count + k], e_.at(out, q * chunkScoresBytes() + k * 64), 64);
  }
}

/// The page `number` of a latent cache, which begins at `rows`: some positions side by side, then those left one by one.
void AttentionTile::rowKeys(const Span& span, Val rows, Val number, Val fetch) {
  Val start = number * kPageTokens;
  Val from = e_.maxI(span.from - start, e_.i(0)), to = e_.minI(span.to - start, e_.i(kPageTokens));
  auto pass = [&](Val slot, int positions) {
    Val offset = slot * rowBytes(), at_score = (start + slot - span.chunk * kAttentionChunk) * 4;
    eachGroup([&](Val group, bool first) { rowScores(e_.at(rows, offset), at_score, positions, group, first ? Ahead{fetch, offset} : Ahead{}); });
  };
  Val whole = from + ((to - from) & -static_cast<int64_t>(blocks()));
  e_.each(from, whole, blocks(), [&](Val slot) { pass(slot, blocks()); });
  e_.each(whole, to, 1, [&](Val slot) { pass(slot, 1); });
}

/// q·k of `width` queries and `positions` rows.
void AttentionTile::rowScores(Val rows, Val at_score, int positions, Val group, const Ahead& ahead) {
  const int width = shape_.width;
  Val queries = scaledQuery(group);
  const Vals sums = e_.loop(e_.i(0), e_.i(paddedDim()), kLanes, Vals(width * positions, e_.fv(0)), [&](Val d, Vals acc) {
    Val column = e_.at(rows, d * cacheElementBytes(kernel_));
    Vals key;
    for (int k = 0; k < positions; ++k) key.push_back(loadCache(e_, kernel_, e_.at(column, k * rowBytes())));
    for (int q = 0; q < width; ++q) {
      Val x = e_.load(e_.f32v, e_.at(e_.at(queries, d * 4), q * paddedDim() * 4), 64);
      for (int k = 0; k < positions; ++k) acc[q * positions + k] = e_.fma(key[k], x, acc[q * positions + k]);
    }
    fetch(ahead, d * (positions * cacheElementBytes(kernel_)), positions * lineOfBlock());
    return acc;
  });
  Val out = e_.at(scoresOf(group), at_score);
  for (int q = 0; q < width; ++q) {
    for (int k = 0; k < positions; ++k) e_.store(e_.sum(sums[q * positions + k]), e_.at(out, q * chunkScoresBytes() + k * 4), 4);
  }
}

// ---- softmax of one query over the chunk

void AttentionTile::mask(Val scores, Val from, Val to, const std::function<Val(Val)>& visible) {
  e_.each(from, to, kLanes, [&](Val first) {
    Val place = e_.at(scores, first * 4);
    Val position = e_.iota() + e_.splat(e_.wrap(e_.b.CreateTrunc(first.v, e_.i32)));
    e_.store(e_.select(visible(position), e_.load(e_.f32v, place, 64), e_.fv(kMasked)), place, 64);
  });
}

/// Capped before they are masked: what is not visible stays out of reach.
void AttentionTile::cap(Val scores, Val from, Val to) {
  if (kernel_.soft_cap() == 0) return;
  e_.each(from, to, kLanes, [&](Val at) {
    Val place = e_.at(scores, at * 4);
    e_.store(e_.softCap(e_.load(e_.f32v, place, 64), kernel_.soft_cap()), place, 64);
  });
}

/// Scores become weights exp(score - m); m and l go to the partial.
void AttentionTile::softmax(const Span& span, Val query) {
  const int64_t step = kLanes * blocks();
  auto narrow = [&](Val x) { return e_.splat(e_.wrap(e_.b.CreateTrunc(x.v, e_.i32))); };
  const Query seen = query_at_(query);
  Val start = span.chunk * kAttentionChunk, scores = scoresOf(query);
  Val from = (span.from - start) & -step, to = (span.to - start + (step - 1)) & -step;
  Val lowest = seen.lowest - start, end = seen.position + 1 - start;
  cap(scores, from, to);
  mask(scores, from, e_.minI(lowest, to), [&](Val position) { return narrow(lowest) <= position; });
  mask(scores, e_.maxI(end & -kLanes, from), to, [&](Val position) { return position < narrow(end); });
  const Vals top = e_.loop(from, to, kLanes, {e_.fv(kFloor)}, [&](Val at, Vals best) {
    return Vals{e_.max(e_.load(e_.f32v, e_.at(scores, at * 4), 64), best[0])};
  });
  Val m = e_.largest(top[0]), peak = e_.splat(m);
  const Vals sums = e_.loop(from, to, kLanes, {e_.fv(0)}, [&](Val at, Vals sum) {
    Val place = e_.at(scores, at * 4), weight = e_.exp(e_.load(e_.f32v, place, 64) - peak);
    e_.store(weight, place, 64);
    return Vals{sum[0] + weight};
  });
  Val tail = e_.at(partialOf(query), paddedValue() * 4);
  e_.store(m, tail, 4);
  e_.store(e_.sum(sums[0]), e_.at(tail, 4), 4);
}

// ---- values: lanes are dimensions

void AttentionTile::values(const Span& span, Val table, Val kv_head) {
  const int64_t total = paddedValue() / kLanes, at_once = std::min<int64_t>(vectors(), total), full = total / at_once * at_once;
  e_.each(e_.i(0), groups_ * shape_.width, 1, [&](Val query) {
    e_.columns(paddedValue(), [&](Val offset, int) { e_.store(e_.fv(0), e_.at(partialOf(query), offset * 4), 64); });
  });
  Val end_page = shiftRight(span.to + (kPageTokens - 1), 6);
  e_.each(shiftRight(span.from, 6), end_page, 1, [&](Val number) {
    const Page page = pageOf(e_, kernel_, e_.in(1), table, number, kv_head);
    Val is_last = number + 1 == end_page;
    const Page after = pageOf(e_, kernel_, e_.in(1), table, e_.select(is_last, shiftRight(span.next, 6), number + 1), kv_head);
    Val fetch = e_.select(is_last, after.keys, after.values), start = number * kPageTokens;
    Val from = e_.maxI(span.from - start, e_.i(0)), to = e_.minI(span.to - start, e_.i(kPageTokens));
    Val rows = e_.at(page.values, from * rowBytes());
    Val at_score = (start + from - span.chunk * kAttentionChunk) * 4;
    auto pass = [&](Val first, int count) {
      const Ahead ahead{fetch, first * (kPageTokens * lineOfBlock())};
      eachGroup([&](Val group, bool is_first) { weigh(rows, at_score, to - from, first, count, group, is_first ? ahead : Ahead{}); });
    };
    e_.each(e_.i(0), e_.i(full), at_once, [&](Val first) { pass(first, static_cast<int>(at_once)); });
    if (full < total) pass(e_.i(full), static_cast<int>(total - full));
  });
}

/// o += Σ weight[position] · value[position] over `count` positions, for some vectors of dimensions.
void AttentionTile::weigh(Val values, Val at_score, Val count, Val first_vector, int vectors, Val group, const Ahead& ahead) {
  const int64_t line = lineOfBlock(), row = rowBytes();
  const int width = shape_.width;
  Val sums = e_.at(partialOf(group), first_vector * 64), weights = e_.at(scoresOf(group), at_score);
  Val column = e_.at(values, first_vector * line);
  auto place = [&](int q, int v) { return e_.at(sums, q * partialBytes(kernel_) + v * 64); };
  Vals init;
  for (int q = 0; q < width; ++q) {
    for (int v = 0; v < vectors; ++v) init.push_back(e_.load(e_.f32v, place(q, v), 64));
  }
  const Vals acc = unrolled(e_.i(0), count, init, [&](Val position, Vals partial) {
    Vals value;
    for (int v = 0; v < vectors; ++v) value.push_back(loadCache(e_, kernel_, e_.at(e_.at(column, position * row), v * line)));
    for (int q = 0; q < width; ++q) {
      Val p = e_.broadcast(e_.f32, e_.at(e_.at(weights, position * 4), q * chunkScoresBytes()));
      for (int v = 0; v < vectors; ++v) partial[q * vectors + v] = e_.fma(value[v], p, partial[q * vectors + v]);
    }
    return partial;
  }, [&](Val position) {
    fetch(ahead, position * (vectors * line), kUnroll * vectors * line);
  });
  for (int q = 0; q < width; ++q) {
    for (int v = 0; v < vectors; ++v) e_.store(acc[q * vectors + v], place(q, v), 64);
  }
}

// ---- folding

void AttentionTile::reset(Val query) {
  Val running = runningOf(query), tail = e_.at(running, paddedValue() * 4);
  e_.columns(paddedValue(), [&](Val offset, int) { e_.store(e_.fv(0), e_.at(running, offset * 4), 64); });
  e_.store(e_.f(kFloor), tail, 4);
  e_.store(e_.f(0), e_.at(tail, 4), 4);
}

/// m = max(m, m'), l = l·exp(m_old - m) + l'·exp(m' - m), o likewise. A partial that saw nothing (m' = kFloor, l' = 0) is neutral.
void AttentionTile::fold(Val query, Val partial) {
  const int64_t tail = paddedValue() * 4;
  Val running = runningOf(query);
  Val m = e_.load(e_.f32, e_.at(running, tail), 4), its_m = e_.load(e_.f32, e_.at(partial, tail), 4);
  Val l = e_.load(e_.f32, e_.at(running, tail + 4), 4), its_l = e_.load(e_.f32, e_.at(partial, tail + 4), 4);
  Val top = e_.max(m, its_m);
  Val keep = e_.exp(e_.splat(m - top)), add = e_.exp(e_.splat(its_m - top));
  auto first = [&](Val x) { return e_.wrap(e_.b.CreateExtractElement(x.v, uint64_t{0})); };
  e_.store(top, e_.at(running, tail), 4);
  e_.store(e_.fma(its_l, first(add), l * first(keep)), e_.at(running, tail + 4), 4);
  e_.columns(paddedValue(), [&](Val offset, int) {
    Val place = e_.at(running, offset * 4);
    e_.store(e_.fma(e_.load(e_.f32v, e_.at(partial, offset * 4), 64), add, e_.load(e_.f32v, place, 64) * keep), place, 64);
  });
}

/// out = o / l; with a sink s: o·exp(m - top) / (l·exp(m - top) + exp(s - top)), top = max(m, s).
void AttentionTile::finish(Val query, Val out, Val sink) {
  Val running = runningOf(query);
  Val l = e_.load(e_.f32, e_.at(running, paddedValue() * 4 + 4), 4), inverse = e_.splat(e_.f(1) / l);
  if (sink.v) {
    Val m = e_.load(e_.f32, e_.at(running, paddedValue() * 4), 4), top = e_.max(m, sink);
    Val keep = e_.exp(e_.splat(m - top));
    inverse = keep / e_.fma(e_.splat(l), keep, e_.exp(e_.splat(sink - top)));
  }
  e_.columns(attentionValueDim(kernel_), [&](Val offset, int lanes) {
    e_.storeLanes(e_.load(e_.f32v, e_.at(running, offset * 4), 64) * inverse, e_.at(out, offset * 4), lanes);
  });
}

void AttentionTile::copyPartial(Val from, Val to) {
  e_.columns(partialBytes(kernel_) / 4, [&](Val offset, int) { e_.store(e_.load(e_.f32v, e_.at(from, offset * 4), 64), e_.at(to, offset * 4), 64); });
}

}  // namespace exo::codegen
