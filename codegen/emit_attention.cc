// KV_APPEND and ATTENTION over the paged cache (layout in kernels.md). Online softmax, one page of 64 positions at a time.
// A tile is a few query vectors (row, head) that read the same KV head of the same sequence; each query's result is a fixed
// sequence of operations: a page that it cannot see is neutral (factor 1, addends 0), so tiles and threads do not show.
#include <algorithm>
#include <bit>

#include "codegen/emit.h"
#include "codegen/layout.h"

namespace exo::codegen {
namespace {

using program::Kernel;

constexpr int kBlocks = kPageTokens / kLanes;  // of 16 positions in a page
constexpr double kMasked = -1e30;

int64_t elementBytes(const Kernel& kernel) { return kernel.cache() == program::F16 ? 2 : 4; }

/// The page of one KV head.
struct Page {
  Val keys, values;
};

Page pageOf(Entry& e, const Kernel& kernel, Val cache, Val table, Val page_index, Val kv_head) {
  const int64_t dim = kernel.head_dim();
  Val page = e.index(table, page_index) * static_cast<int64_t>(kernel.kv_heads()) + kv_head;
  Val keys = e.at(cache, page * cacheHeadBytes(kernel.cache(), dim, dim));
  return {keys, e.at(keys, kPageTokens * dim * elementBytes(kernel))};
}

/// Page numbers of the sequence that `row` belongs to.
Val pageTable(Entry& e, Val row) {
  Val sequence = e.index(e.step(offsetof(StepView, sequence)), row);
  return e.at(e.step(offsetof(StepView, page_table)), sequence * e.stepNumber(offsetof(StepView, page_table_stride)) * 4);
}

Val loadCache(Entry& e, const Kernel& kernel, Val pointer) {
  if (kernel.cache() == program::F32) return e.load(e.f32v, pointer, 64);
  return e.fromHalf(e.load(e.vec(e.i16), pointer, 32));
}

// ---- KV_APPEND

Val encode(Entry& e, const Kernel& kernel, Val x) { return kernel.cache() == program::F32 ? x : e.toHalf(x); }

/// Keys of one position lie 16 elements apart.
void scatterKey(Entry& e, const Kernel& kernel, Val key, Val to, Val staging) {
  const int64_t bytes = elementBytes(kernel);
  llvm::Type* element = kernel.cache() == program::F32 ? e.i32 : e.i16;
  e.columns(kernel.head_dim(), [&](Val offset, int lanes) {
    e.store(encode(e, kernel, e.loadLanes(e.at(key, offset * 4), lanes)), staging, 32);
    Val start = e.at(to, offset * (kLanes * bytes));
    e.each(e.i(0), e.i(lanes), 1, [&](Val lane) {
      e.store(e.load(element, e.at(staging, lane * bytes), static_cast<int>(bytes)), e.at(start, lane * (kLanes * bytes)), static_cast<int>(bytes));
    });
  });
}

void storeValue(Entry& e, const Kernel& kernel, Val value, Val to) {
  e.columns(kernel.head_dim(), [&](Val offset, int lanes) {
    e.store(encode(e, kernel, e.loadLanes(e.at(value, offset * 4), lanes)), e.at(to, offset * elementBytes(kernel)), 32);
  });
}

// ---- ATTENTION

/// How many query vectors share a tile: in decode as many as read one KV head, in prefill at least 4.
int decodeQueries(const Kernel& kernel) {
  return static_cast<int>(std::min<uint64_t>(8, std::bit_ceil(std::max<uint64_t>(1, std::min(kernel.group(), kernel.heads())))));
}
int prefillQueries(const Kernel& kernel) { return std::max(4, decodeQueries(kernel)); }

int64_t paddedDim(const Kernel& kernel) { return cacheValueStride(static_cast<int64_t>(kernel.head_dim())); }

/// The kernel under construction.
class Attention : public Entry {
 public:
  Attention(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target)
      : Entry(module, symbol, target), kernel_(kernel) {}
  void emit();

 private:
  /// Consecutive rows of one sequence against one KV head.
  struct Run {
    Val kv_head, first_row, num_rows;
    Val first_head, num_heads;  // local query heads that read it
    Val table;
  };
  struct Query {
    Val in, out;           // pointers to its head_dim floats
    Val position, lowest;  // visible keys: lowest..position, i64
  };
  struct Softmax {
    std::vector<Val> peak;    // scalar per query
    std::vector<Val> weight;  // 16 partial sums per query
  };

  Run runAt(Val unit);
  void attend(const Run& run);
  Query queryAt(const Run& run, Val index);
  void tile(const Run& run, Val first_query, Val num_queries, int width);
  Vals scores(const std::vector<Query>& queries, const Page& page);
  void prefetchShare(Val base, Val step, int64_t steps, int64_t bytes);
  Val visible(const Query& query, Val first_position, int block);
  Val updateSoftmax(const Query& query, const Vals& scores, size_t q, Val first_position, Softmax& state);
  void accumulate(const std::vector<Query>& queries, const Vals& corrections, Val values, Val next_keys, Val from, Val to);
  void visitPage(const std::vector<Query>& queries, const Run& run, Val page, Softmax& state);
  void storeResult(const std::vector<Query>& queries, const Softmax& state);
  Val sums(size_t query) { return at(scratchMemory(), static_cast<int64_t>(query) * paddedDim(kernel_) * 4); }
  Val probabilities(size_t query) {
    return at(scratchMemory(), (prefillQueries(kernel_) * paddedDim(kernel_) + static_cast<int64_t>(query) * kPageTokens) * 4);
  }

  const Kernel& kernel_;
};

Attention::Run Attention::runAt(Val unit) {
  Run run;
  Val num_rows = rows();
  run.kv_head = unit / num_rows;
  run.first_row = unit % num_rows;
  Val sequence = index(step(offsetof(StepView, sequence)), run.first_row);
  Val sequence_end = index(step(offsetof(StepView, sequence_begin)), sequence + 1);
  Val limit = minI(minI(run.first_row + (end() - unit), num_rows), sequence_end);
  run.num_rows = maxI(limit - run.first_row, i(1));
  const int64_t group = kernel_.group(), shift = kernel_.first_head();
  run.first_head = maxI(run.kv_head * group - shift, i(0));
  run.num_heads = minI(run.kv_head * group + (group - shift), i(kernel_.heads())) - run.first_head;
  run.table = pageTable(*this, run.first_row);
  return run;
}

Attention::Query Attention::queryAt(const Run& run, Val query) {
  Val row = run.first_row + query / run.num_heads;
  Val offset = (row * static_cast<int64_t>(kernel_.heads()) + run.first_head + query % run.num_heads) * (4 * static_cast<int64_t>(kernel_.head_dim()));
  Val position = index(step(offsetof(StepView, positions)), row);
  Val lowest = kernel_.window() ? maxI(position - (static_cast<int64_t>(kernel_.window()) - 1), i(0)) : i(0);
  return {at(in(0), offset), at(out(0), offset), position, lowest};
}

/// The `step`th of `steps` shares of `bytes` bytes, into L2. A page is too short for the hardware to notice the stream, so while
/// the keys are read the values are fetched, and while those are read the next page's keys.
void Attention::prefetchShare(Val base, Val step, int64_t steps, int64_t bytes) {
  const int64_t share = (bytes + 64 * steps - 1) / (64 * steps) * 64;
  for (int64_t line = 0; line < share; line += 64) prefetch(at(at(base, step * share), line), 2);
}

/// q·k for every query and all 64 positions: [query][block], lanes are positions.
Vals Attention::scores(const std::vector<Query>& queries, const Page& page) {
  const int64_t dim = kernel_.head_dim(), bytes = elementBytes(kernel_);
  const int width = static_cast<int>(queries.size());
  const int blocks = std::clamp(target.accumulators / width, 1, kBlocks);
  Vals result(queries.size() * kBlocks);
  for (int first = 0; first < kBlocks; first += blocks) {
    Vals acc = loop(i(0), i(dim), 1, Vals(width * blocks, fv(0)), [&](Val d, Vals sums) {
      if (first == 0) prefetchShare(page.values, d, dim, kPageTokens * paddedDim(kernel_) * bytes);
      Val column = at(page.keys, d * (kLanes * bytes));
      Vals key;
      for (int k = 0; k < blocks; ++k) key.push_back(loadCache(*this, kernel_, at(column, (first + k) * kLanes * dim * bytes)));
      for (int q = 0; q < width; ++q) {
        Val x = broadcast(f32, at(queries[q].in, d * 4));
        for (int k = 0; k < blocks; ++k) sums[q * blocks + k] = fma(key[k], x, sums[q * blocks + k]);
      }
      return sums;
    });
    for (int q = 0; q < width; ++q) {
      for (int k = 0; k < blocks; ++k) result[q * kBlocks + first + k] = acc[q * blocks + k];
    }
  }
  return result;
}

Val Attention::visible(const Query& query, Val first_position, int block) {
  auto narrow = [&](Val x) { return splat(wrap(b.CreateTrunc(x.v, i32))); };
  Val position = iota() + narrow(first_position + kLanes * block);
  return (position <= narrow(query.position)) & (narrow(query.lowest) <= position);
}

/// Stores the page's probabilities of query q; returns the factor for what was summed before.
Val Attention::updateSoftmax(const Query& query, const Vals& scores, size_t q, Val first_position, Softmax& state) {
  Vals seen, masked;
  for (int block = 0; block < kBlocks; ++block) {
    seen.push_back(visible(query, first_position, block));
    masked.push_back(select(seen[block], scores[q * kBlocks + block] * fv(kernel_.scale()), fv(kMasked)));
  }
  Val peak = max(largest(max(max(masked[0], masked[1]), max(masked[2], masked[3]))), state.peak[q]);
  Val correction = exp(splat(state.peak[q] - peak));
  Val weight = state.weight[q] * correction;
  for (int block = 0; block < kBlocks; ++block) {
    Val p = select(seen[block], exp(masked[block] - splat(peak)), fv(0));
    weight = weight + p;
    store(p, at(probabilities(q), 64 * block), 64);
  }
  state.peak[q] = peak;
  state.weight[q] = weight;
  return correction;
}

/// sums = sums * correction + Σ p[position] · value[position] over positions from..to of the page.
void Attention::accumulate(const std::vector<Query>& queries, const Vals& corrections, Val values, Val next_keys, Val from, Val to) {
  const int64_t vectors = paddedDim(kernel_) / kLanes, bytes = elementBytes(kernel_);
  const int64_t at_once = std::clamp<int64_t>(target.accumulators / static_cast<int64_t>(queries.size()), 1, 8);
  for (int64_t first = 0; first < vectors; first += at_once) {
    const int64_t count = std::min(at_once, vectors - first);
    Vals acc;
    for (size_t q = 0; q < queries.size(); ++q) {
      for (int64_t v = 0; v < count; ++v) acc.push_back(load(f32v, at(sums(q), (first + v) * 64), 64) * corrections[q]);
    }
    acc = loop(from, to, 1, acc, [&](Val position, Vals partial) {
      if (first == 0) prefetchShare(next_keys, position, kPageTokens, kPageTokens * static_cast<int64_t>(kernel_.head_dim()) * bytes);
      Val row = at(values, position * (paddedDim(kernel_) * bytes));
      Vals value;
      for (int64_t v = 0; v < count; ++v) value.push_back(loadCache(*this, kernel_, at(row, (first + v) * kLanes * bytes)));
      for (size_t q = 0; q < queries.size(); ++q) {
        Val p = broadcast(f32, at(probabilities(q), position * 4));
        for (int64_t v = 0; v < count; ++v) partial[q * count + v] = fma(value[v], p, partial[q * count + v]);
      }
      return partial;
    });
    for (size_t q = 0; q < queries.size(); ++q) {
      for (int64_t v = 0; v < count; ++v) store(acc[q * count + v], at(sums(q), (first + v) * 64), 64);
    }
  }
}

void Attention::visitPage(const std::vector<Query>& queries, const Run& run, Val page, Softmax& state) {
  const Page place = pageOf(*this, kernel_, in(1), run.table, page, run.kv_head);
  Val first_position = page * kPageTokens;
  const Vals raw = scores(queries, place);
  Vals corrections;
  for (size_t q = 0; q < queries.size(); ++q) corrections.push_back(updateSoftmax(queries[q], raw, q, first_position, state));
  // Rows ascend in position: the first query reaches furthest back, the last one furthest ahead.
  Val from = maxI(queries.front().lowest - first_position, i(0));
  Val to = minI(queries.back().position + 1 - first_position, i(kPageTokens));
  Val next_page = minI(page + 1, shiftRight(queries.back().position, 6));
  const Page next = pageOf(*this, kernel_, in(1), run.table, next_page, run.kv_head);
  accumulate(queries, corrections, place.values, next.keys, from, to);
}

void Attention::storeResult(const std::vector<Query>& queries, const Softmax& state) {
  for (size_t q = 0; q < queries.size(); ++q) {
    Val inverse = splat(f(1) / sum(state.weight[q]));
    columns(kernel_.head_dim(), [&](Val offset, int lanes) {
      storeLanes(load(f32v, at(sums(q), offset * 4), 64) * inverse, at(queries[q].out, offset * 4), lanes);
    });
  }
}

void Attention::tile(const Run& run, Val first_query, Val num_queries, int width) {
  std::vector<Query> queries;
  for (int q = 0; q < width; ++q) queries.push_back(queryAt(run, minI(first_query + q, num_queries - 1)));
  for (int q = 0; q < width; ++q) columns(paddedDim(kernel_), [&](Val offset, int) { store(fv(0), at(sums(q), offset * 4), 64); });
  Vals init(width, f(kMasked));
  init.insert(init.end(), width, fv(0));
  Val first_page = shiftRight(queries.front().lowest, 6), last_page = shiftRight(queries.back().position, 6);
  const Vals final_state = loop(first_page, last_page + 1, 1, init, [&](Val page, Vals carried) {
    Softmax state{{carried.begin(), carried.begin() + width}, {carried.begin() + width, carried.end()}};
    visitPage(queries, run, page, state);
    state.peak.insert(state.peak.end(), state.weight.begin(), state.weight.end());
    return state.peak;
  });
  storeResult(queries, {{}, {final_state.begin() + width, final_state.end()}});
}

void Attention::attend(const Run& run) {
  Val num_queries = run.num_rows * run.num_heads;
  // More queries than accumulators would spill; tiles do not show in the result.
  const int narrow = std::min(decodeQueries(kernel_), target.accumulators), wide = std::min(prefillQueries(kernel_), target.accumulators);
  auto tiles = [&](int width) { each(i(0), num_queries, width, [&](Val first) { tile(run, first, num_queries, width); }); };
  if (narrow == wide) return tiles(wide);
  when(num_queries <= i(narrow), [&] { tiles(narrow); }, [&] { tiles(wide); });
}

void Attention::emit() {
  repeat({begin()}, [&](Vals unit) { return unit[0] < end(); }, [&](Vals unit) {
    const Run run = runAt(unit[0]);
    attend(run);
    return Vals{unit[0] + run.num_rows};
  });
  finish();
}

}  // namespace

void emitKvAppend(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Entry e(module, symbol, target);
  const int64_t dim = kernel.head_dim(), heads = kernel.kv_heads(), bytes = elementBytes(kernel);
  Val keys = e.in(0), values = e.in(1), cache = e.in(2), staging = e.scratch(64);
  e.eachRow(kernel, [&](Val row) {
    Val position = e.index(e.step(offsetof(StepView, positions)), row), slot = position & (kPageTokens - 1);
    Val table = pageTable(e, row);
    e.eachPart(kernel, heads, dim, [&](Val head) {
      const Page page = pageOf(e, kernel, cache, table, shiftRight(position, 6), head);
      Val offset = (row * heads + head) * (4 * dim);
      Val column = (shiftRight(slot, 4) * (kLanes * dim) + (slot & (kLanes - 1))) * bytes;
      scatterKey(e, kernel, e.at(keys, offset), e.at(page.keys, column), staging);
      storeValue(e, kernel, e.at(values, offset), e.at(page.values, slot * (cacheValueStride(dim) * bytes)));
    });
  });
  e.finish();
}

void emitAttention(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Attention(module, symbol, kernel, target).emit();
}

int64_t attentionScratchBytes(const Kernel& kernel) { return prefillQueries(kernel) * (paddedDim(kernel) + kPageTokens) * 4; }

}  // namespace exo::codegen
