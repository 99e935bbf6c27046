// all_reduce by its algorithms (algorithms.h) and reduce_scatter. T is how numbers travel: float or Bf16.
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
  return algorithm == Algorithm::kChain ? reduceChain(in, out) : reduce(algorithm, in, out);
}

template <class T>
Status Communicator::reduce(Algorithm algorithm, std::span<const T> in, std::span<T> out) {
  return algorithm == Algorithm::kOneShot ? reduceOneShot(in, out) : reduceTwoShot(in, out);
}

/// Never by the chain: it would round at every rank, and give other bits.
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
  sumInOrder<T>(terms_, out.data() + done_bytes / sizeof(T), size / sizeof(T));
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

/// Up the chain each rank adds its terms to what comes from below, in `out`; the last one's sum travels down. That a sum
/// comes down implies that what we added went up, so that it may lie where that was.
Status Communicator::reduceChain(std::span<const float> in, std::span<float> out) {
  const bool first = index_ == 0, last = index_ == size() - 1;
  const Tag up = tag(Operation::kAllReduceChain, in.size_bytes()), down = tag(Operation::kAllReduceChainBack, in.size_bytes());
  size_t added = 0, final = 0;  // bytes of `out`
  size_t from_below = 0, from_above = 0;
  if (!first) {
    from_below = exchange_->receive(group_[index_ - 1], up);
    exchange_->send(group_[index_ - 1], down, std::as_bytes(out), last ? &added : &final);
  }
  if (!last) {
    from_above = exchange_->receive(group_[index_ + 1], down);
    exchange_->send(group_[index_ + 1], up, std::as_bytes(first ? in : out), first ? nullptr : &added);
  }
  const auto addUp = [&] {
    const auto chunk = exchange_->chunk(from_below);
    if (!chunk) return false;
    const void* const terms[] = {chunk->data(), in.data() + added / sizeof(float)};
    sumInOrder<float>(terms, out.data() + added / sizeof(float), chunk->size() / sizeof(float));
    added += chunk->size();
    exchange_->releaseChunk(from_below);
    return true;
  };
  const auto takeSum = [&] {
    const auto chunk = exchange_->chunk(from_above);
    if (!chunk) return false;
    copyBytes(reinterpret_cast<std::byte*>(out.data()) + final, *chunk);
    final += chunk->size();
    exchange_->releaseChunk(from_above);
    return true;
  };
  return exchange_->run([&] {
    const bool found_below = !first && addUp();
    const bool found_above = !last && takeSum();
    return found_below || found_above;
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
