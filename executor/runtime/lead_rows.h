// The rows of a region's lead while a step runs it (regions.h): threads take a few rows at a time and make them; who needs a
// block of rows that others are still making waits for those rows alone, not for every thread. Threads begin at different
// blocks, so with blocks enough for all nobody waits.
// Threads: begin() while no other thread is inside finish() (in a barrier, or before run()); finish() from any number of them.
// Memory: what `make` wrote for rows of a block is seen by all who return from finish() of that block.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "executor/runtime/shares.h"

namespace exo::runtime {

class LeadRows {
 public:
  LeadRows(int64_t most_rows, int64_t block_rows, int threads);

  /// Nothing of these rows is made.
  void begin(int64_t rows);

  int64_t numBlocks() const { return (rows_ + block_rows_ - 1) / block_rows_; }
  UnitRange rowsOf(int64_t block) const { return {block * block_rows_, std::min(rows_, (block + 1) * block_rows_)}; }
  /// Where a thread begins; it goes on with the next ones and around.
  int64_t firstBlock(int thread) const { return thread * numBlocks() / threads_; }

  /// Calls make(begin, end) for rows of the block that nobody has taken, until there are none; returns when all are made.
  template <class Make>
  void finish(int64_t block, Make&& make) {
    Block& state = blocks_[static_cast<size_t>(block)];
    const auto [first, last] = rowsOf(block);
    while (state.made.load(std::memory_order_acquire) < last - first) {
      const int64_t begin = first + state.taken.fetch_add(unit_, std::memory_order_relaxed);
      if (begin >= last) break;
      const int64_t end = std::min(last, begin + unit_);
      make(begin, end);
      state.made.fetch_add(end - begin, std::memory_order_acq_rel);
    }
    await(state.made, last - first);
  }

 private:
  struct alignas(64) Block {
    std::atomic<int64_t> taken{0}, made{0};
  };
  static void await(const std::atomic<int64_t>& made, int64_t rows);

  const int64_t block_rows_, threads_;
  int64_t rows_ = 0, unit_ = 1;
  std::vector<Block> blocks_;
};

}  // namespace exo::runtime
