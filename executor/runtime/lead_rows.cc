#include "executor/runtime/lead_rows.h"

#include <sched.h>

#include "executor/runtime/relax.h"

namespace exo::runtime {
namespace {

// A thread takes so many rows at a time at most: a norm of them lasts some microseconds, a hundred times the taking.
constexpr int64_t kMostRowsAtOnce = 8;
// About ten microseconds; whoever makes rows for longer has lost its processor, so give it ours.
constexpr int kSpins = 256;

}  // namespace

LeadRows::LeadRows(int64_t most_rows, int64_t block_rows, int threads)
    : block_rows_(block_rows), threads_(threads), blocks_(static_cast<size_t>((most_rows + block_rows - 1) / block_rows)) {}

void LeadRows::begin(int64_t rows) {
  rows_ = rows;
  unit_ = std::clamp<int64_t>(rows / threads_, 1, kMostRowsAtOnce);
  for (int64_t block = 0; block < numBlocks(); ++block) {
    blocks_[static_cast<size_t>(block)].taken.store(0, std::memory_order_relaxed);
    blocks_[static_cast<size_t>(block)].made.store(0, std::memory_order_relaxed);
  }
}

void LeadRows::await(const std::atomic<int64_t>& made, int64_t rows) {
  for (int spin = 0; made.load(std::memory_order_acquire) < rows; ++spin) {
    if (spin < kSpins) relax();
    else sched_yield();
  }
}

}  // namespace exo::runtime
