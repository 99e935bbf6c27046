// ATTENTION: which queries, chunks and threads. The arithmetic is attention_tile's.
// Not split: a unit is (KV head, row), and folds the partials of its chunks as it makes them. Split (StepView::split): a unit is
// (KV head, row, chunk) and leaves its partials behind; of the units of one (KV head, row) the one that ends last folds them all, in
// the same order. Nobody waits, and whoever it is computes the same bits. All heads read the one key of a latent cache: there
// kLatentHeads of them, instead of those of a KV head, are a unit.
#include <algorithm>
#include <bit>

#include "codegen/attention_tile.h"

namespace exo::codegen {
namespace {

using program::Kernel;

class Attention : public Entry {
 public:
  Attention(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target)
      : Entry(module, symbol, target), kernel_(kernel), tile_(*this, kernel) {}
  void emit();

 private:
  /// Units that are done together: consecutive rows of one sequence, or consecutive chunks of one row, against one KV head.
  struct Run {
    Val units;
    Val group;                       // of query heads that are a unit: those of a KV head, or some of a latent cache's
    Val kv_head, first_row, num_rows;
    Val first_head, num_heads;       // local query heads that read it
    Val first_chunk, end_chunk;
    Val table;
  };

  Val splitNumber(size_t field) { return stepNumber(offsetof(StepView, split) + field); }
  Val splitPointer(size_t field) { return step(offsetof(StepView, split) + field); }
  Run runAt(Val unit);
  AttentionTile::Query queryAt(const Run& run, Val query);
  Val sinkOf(const Run& run, Val query);
  void attend(const Run& run);
  void tiles(const Run& run, Val num_queries, const AttentionShape& shape);
  void tile(const Run& run, Val first, Val count, const AttentionShape& shape);
  void eachChunk(const Run& run, Val lowest, Val last, const std::function<void(Val)>& body);
  Val partialAt(const Run& run, Val query, Val chunk);
  void mergeIfLast(const Run& run);

  const Kernel& kernel_;
  AttentionTile tile_;
  Val chunks_;    // units of one (KV head, row) if split, else 0
  Val is_split_;
};

Attention::Run Attention::runAt(Val unit) {
  Run run;
  Val num_rows = rows(), per_row = maxI(chunks_, i(1)), pair = unit / per_row;
  run.group = pair / num_rows;
  run.kv_head = isLatent(kernel_) ? i(0) : run.group;
  run.first_row = pair % num_rows;
  run.table = pageTable(*this, run.first_row);
  Val sequence = index(step(offsetof(StepView, sequence)), run.first_row);
  Val sequence_end = index(step(offsetof(StepView, sequence_begin)), sequence + 1);
  Val limit = minI(minI(run.first_row + (end() - unit), num_rows), sequence_end);
  run.num_rows = select(is_split_, i(1), maxI(limit - run.first_row, i(1)));
  run.first_chunk = unit % per_row;
  run.end_chunk = select(is_split_, minI(run.first_chunk + (end() - unit), per_row), i(INT64_MAX));
  run.units = select(is_split_, run.end_chunk - run.first_chunk, run.num_rows);
  if (isLatent(kernel_)) {
    run.first_head = run.group * kLatentHeads;
    run.num_heads = minI(i(kernel_.heads()) - run.first_head, i(kLatentHeads));
    return run;
  }
  const int64_t group = kernel_.group(), shift = kernel_.first_head();
  run.first_head = maxI(run.kv_head * group - shift, i(0));
  run.num_heads = minI(run.kv_head * group + (group - shift), i(kernel_.heads())) - run.first_head;
  return run;
}

AttentionTile::Query Attention::queryAt(const Run& run, Val query) {
  Val row = run.first_row + query / run.num_heads;
  Val head = row * static_cast<int64_t>(kernel_.heads()) + run.first_head + query % run.num_heads;
  Val position = index(step(offsetof(StepView, positions)), row);
  Val lowest = kernel_.window() ? maxI(position - (static_cast<int64_t>(kernel_.window()) - 1), i(0)) : i(0);
  return {at(in(0), head * (4 * static_cast<int64_t>(kernel_.head_dim()))), at(out(0), head * (4 * attentionValueDim(kernel_))), position, lowest};
}

/// The sink of the query's head, or none.
Val Attention::sinkOf(const Run& run, Val query) {
  if (!kernel_.sinks()) return {};
  return load(f32, at(in(2), (run.first_head + query % run.num_heads) * 4), 4);
}

/// The chunks of the run that hold positions lowest..last, ascending.
void Attention::eachChunk(const Run& run, Val lowest, Val last, const std::function<void(Val)>& body) {
  const int bits = std::countr_zero(static_cast<uint64_t>(kAttentionChunk));
  each(maxI(run.first_chunk, shiftRight(lowest, bits)), minI(run.end_chunk, shiftRight(last, bits) + 1), 1, body);
}

/// Where the one row of a split run leaves the partial of a query and chunk.
Val Attention::partialAt(const Run& run, Val query, Val chunk) {
  Val head = run.first_row * static_cast<int64_t>(kernel_.heads()) + run.first_head + query;
  return at(splitPointer(offsetof(AttentionSplit, partials)), (head * chunks_ + chunk) * AttentionTile::partialBytes(kernel_));
}

void Attention::tile(const Run& run, Val first, Val count, const AttentionShape& shape) {
  tile_.begin(shape, [&](Val query) { return queryAt(run, first + query); }, count);
  // Rows ascend in position: the first query reaches furthest back, the last one furthest ahead.
  Val lowest = queryAt(run, first).lowest, last = queryAt(run, first + count - 1).position;
  eachChunk(run, lowest, last, [&](Val chunk) {
    Val start = chunk * kAttentionChunk;
    Val to = minI(last + 1, start + kAttentionChunk);
    tile_.attend({chunk, maxI(lowest, start), to, minI(to, last)}, run.table, run.kv_head);
    tile_.eachQuery([&](Val query, Val partial) {
      when(is_split_, [&] { tile_.copyPartial(partial, partialAt(run, first + query, chunk)); }, [&] { tile_.fold(query, partial); });
    });
  });
  when(is_split_, [] {}, [&] {
    tile_.eachQuery([&](Val query, Val) { tile_.finish(query, queryAt(run, first + query).out, sinkOf(run, first + query)); });
  });
}

void Attention::tiles(const Run& run, Val num_queries, const AttentionShape& shape) {
  each(i(0), num_queries, shape.queries, [&](Val first) { tile(run, first, minI(num_queries - first, i(shape.queries)), shape); });
}

/// Decode has few queries; tiles do not show in the result.
void Attention::attend(const Run& run) {
  Val num_queries = run.num_rows * run.num_heads;
  const uint64_t together = isLatent(kernel_) ? std::min<uint64_t>(kLatentHeads, kernel_.heads()) : std::min(kernel_.group(), kernel_.heads());
  const AttentionShape few = attentionShape(static_cast<int64_t>(together), target);
  const AttentionShape many = attentionShape(INT64_MAX, target);
  if (few.width == many.width) return tiles(run, num_queries, many);
  when(num_queries <= i(few.queries), [&] { tiles(run, num_queries, few); }, [&] { tiles(run, num_queries, many); });
}

void Attention::mergeIfLast(const Run& run) {
  Val arrived = at(splitPointer(offsetof(AttentionSplit, arrived)), (run.group * rows() + run.first_row) * 4);
  Val mine = wrap(b.CreateTrunc(run.units.v, i32));
  Val before = wrap(b.CreateAtomicRMW(llvm::AtomicRMWInst::Add, arrived.v, mine.v, llvm::MaybeAlign(4), llvm::AtomicOrdering::AcquireRelease));
  when(before + mine == wrap(b.CreateTrunc(chunks_.v, i32)), [&] {
    store(word(0), arrived, 4);
    Run whole = run;
    whole.first_chunk = i(0);
    whole.end_chunk = chunks_;
    each(i(0), run.num_heads, 1, [&](Val query) {
      const AttentionTile::Query row = queryAt(run, query);
      tile_.reset(i(0));
      eachChunk(whole, row.lowest, row.position, [&](Val chunk) { tile_.fold(i(0), partialAt(run, query, chunk)); });
      tile_.finish(i(0), row.out, sinkOf(run, query));
    });
  });
}

void Attention::emit() {
  chunks_ = splitNumber(offsetof(AttentionSplit, chunks));
  is_split_ = i(0) < chunks_;
  repeat({begin()}, [&](Vals unit) { return unit[0] < end(); }, [&](Vals unit) {
    const Run run = runAt(unit[0]);
    attend(run);
    when(is_split_, [&] { mergeIfLast(run); });
    return Vals{unit[0] + run.units};
  });
  finish();
}

}  // namespace

void emitAttention(llvm::Module& module, const std::string& symbol, const Kernel& kernel, const Target& target) {
  Attention(module, symbol, kernel, target).emit();
}

int64_t attentionScratchBytes(const Kernel& kernel) { return AttentionTile::scratchBytes(kernel); }
int64_t attentionPartialBytes(const Kernel& kernel) { return AttentionTile::partialBytes(kernel); }

}  // namespace exo::codegen
