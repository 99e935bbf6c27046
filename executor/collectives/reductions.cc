// all_reduce by one-shot and two-shot (algorithms.h; the others: runs.cc) and reduce_scatter. T is how numbers travel: float
// or Bf16.
#include <algorithm>

#include "executor/collectives/arguments.h"
#include "executor/collectives/collectives.h"
#include "executor/collectives/exchange.h"
#include "executor/collectives/sum.h"

namespace exo::collectives {

Status Communicator::allReduce(std::span<const float> in, std::span<float> out, std::string_view what) {
  EXO_TRY(expectSize(what, "the result of all_reduce", in.size(), out.size()));
  if (in.data() != out.data() && overlap(std::as_bytes(in), std::as_bytes(out)))
    return invalid(what, ": operand and result of all_reduce overlap without being the same");
  EXO_TRY(beginCollective(Operation::kAllReduce, what));
  if (size() == 1) {
    if (!in.empty()) std::memmove(out.data(), in.data(), in.size_bytes());
    return {};
  }
  if (wire_ == WireFormat::kBf16 && in.size_bytes() > bf16_above_bytes_) return reduceRounded(in, out);
  const Algorithm algorithm = thresholds_.choose(group_.size(), in.size_bytes());
  if (algorithm == Algorithm::kChain) return reduceAlong(singleRanks(size()), in, out);
  if (algorithm == Algorithm::kHierarchical) return reduceAlong(host_runs_, in, out);
  return reduce(algorithm, in, out);
}

template <class T>
Status Communicator::reduce(Algorithm algorithm, std::span<const T> in, std::span<T> out) {
  return algorithm == Algorithm::kOneShot ? reduceOneShot(in, out) : reduceTwoShot(in, out);
}

/// Never along runs: what they hand on is a sum of some ranks, and rounding that as well would give other bits.
Status Communicator::reduceRounded(std::span<const float> in, std::span<float> out) {
  rounded_.resize(in.size());
  std::transform(in.begin(), in.end(), rounded_.begin(), toBf16);
  const std::span<Bf16> rounded(rounded_);
  const Algorithm algorithm = thresholds_.choose(group_.size(), rounded.size_bytes());
  EXO_TRY(reduce<Bf16>(std::min(algorithm, Algorithm::kTwoShot), rounded, rounded));
  std::transform(rounded.begin(), rounded.end(), out.begin(), toFloat);
  return {};
}

/// Adds up the next chunk of what all others sent (messages 0 ... size() - 2) and `mine`, once all of them are here.
/// `done_bytes` counts what is added up.
template <class T>
bool Communicator::sumNextChunk(std::span<const T> mine, std::span<T> out, size_t& done_bytes) {
  size_t size = 0;
  for (int r = 0; r < this->size(); ++r) {
    if (r == index_) {
      terms_[r] = mine.data() + done_bytes / sizeof(T);
      continue;
    }
    const auto chunk = exchange_->chunk(messageOf(r));
    if (!chunk) return false;
    terms_[r] = chunk->data();
    size = chunk->size();
  }
  sumInOrder<T>(std::span(terms_).first(group_.size()), out.data() + done_bytes / sizeof(T), size / sizeof(T));
  done_bytes += size;
  for (int r = 0; r < this->size(); ++r)
    if (r != index_) exchange_->releaseChunk(messageOf(r));
  return true;
}

template <class T>
Status Communicator::reduceOneShot(std::span<const T> in, std::span<T> out) {
  for (int r = 0; r < size(); ++r) {
    if (r == index_) continue;
    exchange_->send(group_[r], tag(Operation::kAllReduce, in.size_bytes()), std::as_bytes(in));
    exchange_->receive(group_[r], tag(Operation::kAllReduce, in.size_bytes()));
  }
  size_t done_bytes = 0;
  const size_t chunk_bytes = Exchange::chunkBytes(mesh_.peer(group_[index_ == 0 ? 1 : 0]).ring());
  return exchange_->run([&] {
    // Where `out` is `in`, a chunk may be overwritten only after everybody has been sent it.
    const size_t next_end = std::min(done_bytes + chunk_bytes, in.size_bytes());
    return exchange_->sentAtLeast(next_end) && sumNextChunk(in, out, done_bytes);
  });
}

/// That a part's sum comes back implies that its owner had our terms, so that `out` may be `in` here too.
template <class T>
Status Communicator::reduceTwoShot(std::span<const T> in, std::span<T> out) {
  constexpr size_t kLine = 64 / sizeof(T);  // parts begin at cache lines
  const size_t lines = (in.size() + kLine - 1) / kLine;
  const auto partBegin = [&](int r) { return std::min(in.size(), lines * r / size() * kLine); };
  const auto partSize = [&](int r) { return partBegin(r + 1) - partBegin(r); };
  const auto partBytes = [&](int r) { return partSize(r) * sizeof(T); };
  const std::span<const T> my_terms = in.subspan(partBegin(index_), partSize(index_));
  const std::span<T> my_sum = out.subspan(partBegin(index_), partSize(index_));
  size_t done_bytes = 0;
  for (int r = 0; r < size(); ++r) {
    if (r == index_) continue;
    const std::span<const T> part = in.subspan(partBegin(r), partSize(r));
    exchange_->send(group_[r], tag(Operation::kAllReduce, partBytes(r)), std::as_bytes(part));
    exchange_->receive(group_[r], tag(Operation::kAllReduce, my_sum.size_bytes()));
  }
  for (int r = 0; r < size(); ++r) {
    if (r == index_) continue;
    exchange_->send(group_[r], tag(Operation::kAllReduceGather, my_sum.size_bytes()), std::as_bytes(my_sum), &done_bytes);
    exchange_->receive(group_[r], tag(Operation::kAllReduceGather, partBytes(r)));
  }
  return exchange_->run([&] {
    bool found = sumNextChunk(my_terms, my_sum, done_bytes);
    for (int r = 0; r < size(); ++r) {
      if (r == index_ || !exchange_->receivedAll(messageOf(r))) continue;
      const size_t message = messageOf(r) + size() - 1;
      while (const auto chunk = exchange_->chunk(message)) {
        copyBytes(reinterpret_cast<std::byte*>(out.data() + partBegin(r)) + exchange_->receivedBytes(message), *chunk);
        exchange_->releaseChunk(message);
        found = true;
      }
    }
    return found;
  });
}

/// The columns of each rank's block, [rows, extents[r]], behind each other.
std::span<const float> Communicator::blocksByRank(int64_t rows, std::span<const int64_t> extents, std::span<const float> in) {
  if (rows <= 1) return in;
  blocks_.resize(in.size());
  const int64_t columns = beginOf(extents, size());
  float* to = blocks_.data();
  for (int r = 0; r < size(); ++r) {
    const float* from = in.data() + beginOf(extents, r);
    for (int64_t row = 0; row < rows; ++row, to += extents[r]) std::copy_n(from + row * columns, extents[r], to);
  }
  return blocks_;
}

Status Communicator::reduceScatter(int64_t rows, std::span<const int64_t> extents, std::span<const float> in, std::span<float> out,
                                   std::string_view what) {
  EXO_ASSIGN(const int64_t columns, sumOfExtents(what, "reduce_scatter", group_.size(), rows, extents));
  EXO_TRY(expectSize(what, "the operand of reduce_scatter", static_cast<size_t>(rows * columns), in.size()));
  EXO_TRY(expectSize(what, "the result of reduce_scatter", static_cast<size_t>(rows * extents[index_]), out.size()));
  if (overlap(std::as_bytes(in), std::as_bytes(out))) return invalid(what, ": operand and result of reduce_scatter overlap");
  EXO_TRY(beginCollective(Operation::kReduceScatter, what));

  const std::span<const float> blocks = blocksByRank(rows, extents, in);
  const auto blockOf = [&](int r) { return blocks.subspan(rows * beginOf(extents, r), rows * extents[r]); };
  if (size() == 1) {
    std::copy(blocks.begin(), blocks.end(), out.begin());
    return {};
  }
  for (int r = 0; r < size(); ++r) {
    if (r == index_) continue;
    exchange_->send(group_[r], tag(Operation::kReduceScatter, blockOf(r).size_bytes()), std::as_bytes(blockOf(r)));
    exchange_->receive(group_[r], tag(Operation::kReduceScatter, out.size_bytes()));
  }
  size_t done_bytes = 0;
  return exchange_->run([&] { return sumNextChunk(blockOf(index_), out, done_bytes); });
}

}  // namespace exo::collectives
