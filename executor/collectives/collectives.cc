#include "executor/collectives/collectives.h"

#include <algorithm>
#include <cstring>

#include "executor/collectives/exchange.h"
#include "executor/collectives/merge.h"

namespace exo::collectives {
namespace {

uint64_t hashOf(std::span<const int> group) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (int rank : group) hash = (hash ^ static_cast<uint64_t>(rank)) * 0x100000001b3;
  return hash;
}

std::span<const std::byte> bytesOf(std::span<const float> values) { return std::as_bytes(values); }

void copyBytes(std::byte* to, std::span<const std::byte> from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
}

bool overlap(std::span<const std::byte> a, std::span<const std::byte> b) {
  return !a.empty() && !b.empty() && a.data() < b.data() + b.size() && b.data() < a.data() + a.size();
}

/// out[i] = ((terms[0][i] + terms[1][i]) + ...), in blocks: `out` may be one of the terms.
void sumInOrder(std::span<const float* const> terms, float* out, size_t count) {
  constexpr size_t kBlock = 512;
  float sum[kBlock];
  for (size_t begin = 0; begin < count; begin += kBlock) {
    const size_t size = std::min(kBlock, count - begin);
    const float* first = terms[0] + begin;
    const float* second = terms[1] + begin;
    for (size_t i = 0; i < size; ++i) sum[i] = first[i] + second[i];
    for (const float* term : terms.subspan(2))
      for (size_t i = 0; i < size; ++i) sum[i] += term[begin + i];
    std::memcpy(out + begin, sum, size * sizeof(float));
  }
}

/// Bytes [offset, offset + chunk) of a [rows, row_bytes] block go to their columns of a [rows, stride] one.
void scatterRows(std::span<const std::byte> chunk, size_t offset, size_t row_bytes, std::byte* out, size_t stride) {
  while (!chunk.empty()) {
    const size_t row = offset / row_bytes, column = offset % row_bytes;
    const size_t size = std::min(chunk.size(), row_bytes - column);
    copyBytes(out + row * stride + column, chunk.first(size));
    chunk = chunk.subspan(size);
    offset += size;
  }
}

/// rows * columns, or kInvalidInput for negative or absurd numbers.
Result<size_t> product(std::string_view what, int64_t rows, int64_t columns) {
  constexpr int64_t kMost = int64_t{1} << 40;
  if (rows < 0 || columns < 0 || rows > kMost || columns > kMost || (columns > 0 && rows > kMost / columns))
    return invalid(what, ": a block of ", rows, " x ", columns, " is out of range");
  return static_cast<size_t>(rows * columns);
}

Status expectSize(std::string_view what, const char* operand, size_t expected, size_t got) {
  if (expected == got) return {};
  return invalid(what, ": ", operand, " must have ", expected, " elements, got ", got);
}

}  // namespace

Result<std::unique_ptr<Communicator>> Communicator::create(transport::Mesh& mesh, std::vector<int> group, const Options& options) {
  if (options.timeout.count() <= 0) return invalid("timeout of collectives must be positive, got ", options.timeout.count(), " ms");
  if (std::adjacent_find(group.begin(), group.end(), std::greater_equal<>()) != group.end())
    return invalid("ranks of a group must be ascending and distinct");
  const auto me = std::find(group.begin(), group.end(), mesh.rank());
  if (me == group.end()) return invalid("rank ", mesh.rank(), " is not in the group it should communicate in");
  const transport::RingShape* ring = nullptr;
  for (int rank : group) {
    if (rank == mesh.rank()) continue;
    if (!mesh.has(rank)) return invalid("rank ", mesh.rank(), " has no link to rank ", rank, " of its group");
    if (ring != nullptr && *ring != mesh.peer(rank).ring()) return invalid("links of one group must have equal rings");
    ring = &mesh.peer(rank).ring();
  }
  const int index = static_cast<int>(me - group.begin());
  return std::unique_ptr<Communicator>(new Communicator(mesh, std::move(group), index, options));
}

Communicator::Communicator(transport::Mesh& mesh, std::vector<int> group, int index, const Options& options)
    : mesh_(mesh),
      group_(std::move(group)),
      group_hash_(hashOf(group_)),
      index_(index),
      options_(options),
      exchange_(std::make_unique<Exchange>(mesh)),
      sent_to_(group_.size()),
      received_from_(group_.size()),
      terms_(group_.size()) {}

Communicator::~Communicator() = default;

/// Starts a call in which the whole group takes part.
Status Communicator::beginCollective(Operation operation, std::string_view what) {
  if (mesh_.failure()) return *mesh_.failure();
  exchange_->begin(operation, what, ++number_, options_.timeout);
  return {};
}

Tag Communicator::tag(Operation operation, size_t total_bytes) const { return tag(operation, total_bytes, number_); }

Tag Communicator::tag(Operation operation, size_t total_bytes, uint64_t number) const {
  Tag out;
  out.operation = static_cast<uint32_t>(operation);
  out.group = group_hash_;
  out.number = number;
  out.total = total_bytes;
  return out;
}

/// Every rank sends `mine` to every other, which hands its chunks of `bytes_from(r)` bytes in total to `take(r, offset, chunk)`.
template <class BytesFrom, class Take>
Status Communicator::exchangeAll(Operation operation, std::span<const std::byte> mine, BytesFrom&& bytes_from, Take&& take) {
  for (int r = 0; r < size(); ++r) {
    if (r == index_) continue;
    exchange_->send(group_[r], tag(operation, mine.size()), mine);
    exchange_->receive(group_[r], tag(operation, bytes_from(r)));
  }
  return exchange_->run([&] {
    bool found = false;
    for (int r = 0; r < size(); ++r) {
      if (r == index_) continue;
      while (const auto chunk = exchange_->chunk(messageOf(r))) {
        take(r, exchange_->receivedBytes(messageOf(r)), *chunk);
        exchange_->releaseChunk(messageOf(r));
        found = true;
      }
    }
    return found;
  });
}

Status Communicator::allReduce(std::span<const float> in, std::span<float> out, std::string_view what) {
  EXO_TRY(expectSize(what, "the result of all_reduce", in.size(), out.size()));
  if (in.data() != out.data() && overlap(bytesOf(in), bytesOf(out)))
    return invalid(what, ": operand and result of all_reduce overlap without being the same");
  EXO_TRY(beginCollective(Operation::kAllReduce, what));
  if (size() == 1) {
    if (!in.empty()) std::memmove(out.data(), in.data(), in.size_bytes());
    return {};
  }
  // Of two ranks each would send and receive as many bytes by either algorithm.
  const bool one_shot = size() == 2 || in.size_bytes() <= options_.one_shot_bytes;
  return one_shot ? allReduceOneShot(in, out) : allReduceScattered(in, out);
}

/// Adds up the next chunk of what all others sent (messages 0 ... size() - 2) and `mine`, once all of them are here.
/// `done_bytes` counts what is added up.
bool Communicator::sumNextChunk(std::span<const float> mine, std::span<float> out, size_t& done_bytes) {
  size_t size = 0;
  for (int r = 0; r < this->size(); ++r) {
    if (r == index_) {
      terms_[r] = mine.data() + done_bytes / sizeof(float);
      continue;
    }
    const auto chunk = exchange_->chunk(messageOf(r));
    if (!chunk) return false;
    terms_[r] = reinterpret_cast<const float*>(chunk->data());
    size = chunk->size();
  }
  sumInOrder(terms_, out.data() + done_bytes / sizeof(float), size / sizeof(float));
  done_bytes += size;
  for (int r = 0; r < this->size(); ++r)
    if (r != index_) exchange_->releaseChunk(messageOf(r));
  return true;
}

Status Communicator::allReduceOneShot(std::span<const float> in, std::span<float> out) {
  for (int r = 0; r < size(); ++r) {
    if (r == index_) continue;
    exchange_->send(group_[r], tag(Operation::kAllReduce, in.size_bytes()), bytesOf(in));
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

/// Rank r adds up the r-th part of the elements and sends it to all. That a part's sum comes back implies that its owner
/// had our terms, so that `out` may be `in` here too.
Status Communicator::allReduceScattered(std::span<const float> in, std::span<float> out) {
  constexpr size_t kLine = 16;  // floats: parts begin at cache lines
  const size_t lines = (in.size() + kLine - 1) / kLine;
  const auto partBegin = [&](int r) { return std::min(in.size(), lines * r / size() * kLine); };
  const auto partSize = [&](int r) { return partBegin(r + 1) - partBegin(r); };
  const auto partBytes = [&](int r) { return partSize(r) * sizeof(float); };
  const std::span<const float> my_terms = in.subspan(partBegin(index_), partSize(index_));
  const std::span<float> my_sum = out.subspan(partBegin(index_), partSize(index_));
  size_t done_bytes = 0;
  for (int r = 0; r < size(); ++r) {
    if (r == index_) continue;
    exchange_->send(group_[r], tag(Operation::kAllReduce, partBytes(r)), bytesOf(in.subspan(partBegin(r), partSize(r))));
    exchange_->receive(group_[r], tag(Operation::kAllReduce, my_sum.size_bytes()));
  }
  for (int r = 0; r < size(); ++r) {
    if (r == index_) continue;
    exchange_->send(group_[r], tag(Operation::kAllReduceGather, my_sum.size_bytes()), bytesOf(my_sum), &done_bytes);
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

Status Communicator::allGather(int64_t rows, std::span<const int64_t> extents, std::span<const float> in, std::span<float> out,
                               std::string_view what) {
  EXO_TRY(expectSize(what, "extents of all_gather", group_.size(), extents.size()));
  int64_t columns = 0;
  for (int64_t extent : extents) {
    EXO_TRY(product(what, rows, extent));
    columns += extent;
    EXO_TRY(product(what, rows, columns));
  }
  EXO_TRY(expectSize(what, "the operand of all_gather", static_cast<size_t>(rows * extents[index_]), in.size()));
  EXO_TRY(expectSize(what, "the result of all_gather", static_cast<size_t>(rows * columns), out.size()));
  if (overlap(bytesOf(in), bytesOf(out))) return invalid(what, ": operand and result of all_gather overlap");
  EXO_TRY(beginCollective(Operation::kAllGather, what));

  const auto rowBytes = [&](int r) { return static_cast<size_t>(extents[r]) * sizeof(float); };
  const auto place = [&](int r, size_t offset, std::span<const std::byte> chunk) {
    int64_t begin = 0;
    for (int before = 0; before < r; ++before) begin += extents[before];
    scatterRows(chunk, offset, rowBytes(r), reinterpret_cast<std::byte*>(out.data() + begin), columns * sizeof(float));
  };
  place(index_, 0, bytesOf(in));
  return exchangeAll(Operation::kAllGather, bytesOf(in), [&](int r) { return rows * rowBytes(r); }, place);
}

Status Communicator::topKMerge(int64_t rows, int64_t k, std::span<const float> values, std::span<const int32_t> ids,
                               std::span<float> out_values, std::span<int32_t> out_ids, std::string_view what) {
  EXO_ASSIGN(const size_t count, product(what, rows, k));
  EXO_TRY(expectSize(what, "values of top_k_merge", count, values.size()));
  EXO_TRY(expectSize(what, "ids of top_k_merge", count, ids.size()));
  EXO_TRY(expectSize(what, "resulting values of top_k_merge", count, out_values.size()));
  EXO_TRY(expectSize(what, "resulting ids of top_k_merge", count, out_ids.size()));
  EXO_TRY(beginCollective(Operation::kTopKMerge, what));

  // One message: all values, then all ids.
  const size_t block = count * (sizeof(float) + sizeof(int32_t));
  candidates_.resize(block * group_.size());
  const auto place = [&](int r, size_t offset, std::span<const std::byte> chunk) {
    copyBytes(candidates_.data() + r * block + offset, chunk);
  };
  place(index_, 0, std::as_bytes(values));
  place(index_, count * sizeof(float), std::as_bytes(ids));
  const std::span<const std::byte> mine(candidates_.data() + index_ * block, block);
  EXO_TRY(exchangeAll(Operation::kTopKMerge, mine, [&](int) { return block; }, place));
  mergeCandidates(candidates_, size(), rows, k, out_values, out_ids);
  return {};
}

Result<int> Communicator::indexOf(int peer, std::string_view what) const {
  const auto found = std::find(group_.begin(), group_.end(), peer);
  if (found == group_.end() || peer == mesh_.rank())
    return invalid(what, ": rank ", peer, " is not another rank of the group");
  return static_cast<int>(found - group_.begin());
}

Status Communicator::send(std::span<const int> peers, std::span<const std::byte> bytes, std::string_view what) {
  for (size_t i = 0; i < peers.size(); ++i) {
    EXO_TRY(indexOf(peers[i], what));
    if (std::find(peers.begin(), peers.begin() + i, peers[i]) != peers.begin() + i)
      return invalid(what, ": rank ", peers[i], " appears twice among the receivers");
  }
  if (mesh_.failure()) return *mesh_.failure();
  if (peers.empty()) return {};
  const int first = *indexOf(peers[0], what);
  exchange_->begin(Operation::kSend, what, sent_to_[first] + 1, options_.timeout);
  for (int peer : peers) {
    const int r = *indexOf(peer, what);
    exchange_->send(peer, tag(Operation::kSend, bytes.size(), ++sent_to_[r]), bytes);
  }
  return exchange_->run([] { return false; });
}

Status Communicator::recv(int peer, std::span<std::byte> bytes, std::string_view what) {
  EXO_ASSIGN(const int r, indexOf(peer, what));
  if (mesh_.failure()) return *mesh_.failure();
  const uint64_t number = ++received_from_[r];
  exchange_->begin(Operation::kSend, what, number, options_.timeout);
  const size_t message = exchange_->receive(peer, tag(Operation::kSend, bytes.size(), number));
  return receiveInto(message, bytes);
}

Status Communicator::receiveInto(size_t message, std::span<std::byte> bytes) {
  return exchange_->run([&] {
    bool found = false;
    while (const auto chunk = exchange_->chunk(message)) {
      copyBytes(bytes.data() + exchange_->receivedBytes(message), *chunk);
      exchange_->releaseChunk(message);
      found = true;
    }
    return found;
  });
}

Status Communicator::broadcast(int root, std::span<std::byte> bytes, std::string_view what) {
  if (root != mesh_.rank()) EXO_TRY(indexOf(root, what));
  EXO_TRY(beginCollective(Operation::kBroadcast, what));
  const Tag message = tag(Operation::kBroadcast, bytes.size());
  if (root != mesh_.rank()) return receiveInto(exchange_->receive(root, message), bytes);
  for (int rank : group_)
    if (rank != root) exchange_->send(rank, message, bytes);
  return exchange_->run([] { return false; });
}

std::vector<Arrival> Communicator::arrivals() const { return exchange_->arrivals(); }

Status Communicator::barrier(std::string_view what) {
  EXO_TRY(beginCollective(Operation::kBarrier, what));
  return exchangeAll(Operation::kBarrier, {}, [](int) { return size_t{0}; }, [](int, size_t, std::span<const std::byte>) {});
}

}  // namespace exo::collectives
