#include "executor/collectives/collectives.h"

#include <algorithm>

#include "executor/collectives/arguments.h"
#include "executor/collectives/exchange.h"
#include "executor/collectives/merge.h"

namespace exo::collectives {
namespace {

uint64_t hashOf(std::span<const int> group) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (int rank : group) hash = (hash ^ static_cast<uint64_t>(rank)) * 0x100000001b3;
  return hash;
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

}  // namespace

Result<std::unique_ptr<Communicator>> Communicator::create(transport::Mesh& mesh, std::vector<int> group, const Options& options) {
  if (options.timeout.count() <= 0) return invalid("timeout of collectives must be positive, got ", options.timeout.count(), " ms");
  if (std::adjacent_find(group.begin(), group.end(), std::greater_equal<>()) != group.end())
    return invalid("ranks of a group must be ascending and distinct");
  for (const AlgorithmTable::Row& row : options.algorithms.rows) EXO_TRY(validate(row.all_reduce));
  EXO_TRY(validate(options.algorithms.others));
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
      timeout_(options.timeout),
      thresholds_(options.algorithms.of(group_)),
      wire_(options.wire),
      bf16_above_bytes_(options.bf16_above_bytes),
      exchange_(std::make_unique<Exchange>(mesh)),
      sent_to_(group_.size()),
      received_from_(group_.size()),
      terms_(group_.size() + 1) {
  std::vector<int> hosts;
  for (const int rank : group_) hosts.push_back(mesh.hostOf(rank));
  host_runs_ = runsOf(hosts);
}

Communicator::~Communicator() = default;

/// Starts a call in which the whole group takes part.
Status Communicator::beginCollective(Operation operation, std::string_view what) {
  if (mesh_.failure()) return *mesh_.failure();
  exchange_->begin(operation, what, ++number_, timeout_);
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

/// Every rank sends `bytes_to(r)` to every other rank r, and hands the chunks of the `bytes_from(r)` bytes that come from it
/// to `take(r, offset, chunk)`.
template <class BytesTo, class BytesFrom, class Take>
Status Communicator::exchangeAll(Operation operation, BytesTo&& bytes_to, BytesFrom&& bytes_from, Take&& take) {
  for (int r = 0; r < size(); ++r) {
    if (r == index_) continue;
    const std::span<const std::byte> bytes = bytes_to(r);
    exchange_->send(group_[r], tag(operation, bytes.size()), bytes);
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

Status Communicator::allGather(int64_t rows, std::span<const int64_t> extents, std::span<const float> in, std::span<float> out,
                               std::string_view what) {
  EXO_ASSIGN(const int64_t columns, sumOfExtents(what, "all_gather", group_.size(), rows, extents));
  EXO_TRY(expectSize(what, "the operand of all_gather", static_cast<size_t>(rows * extents[index_]), in.size()));
  EXO_TRY(expectSize(what, "the result of all_gather", static_cast<size_t>(rows * columns), out.size()));
  if (overlap(std::as_bytes(in), std::as_bytes(out))) return invalid(what, ": operand and result of all_gather overlap");
  EXO_TRY(beginCollective(Operation::kAllGather, what));

  const auto rowBytes = [&](int r) { return static_cast<size_t>(extents[r]) * sizeof(float); };
  const auto place = [&](int r, size_t offset, std::span<const std::byte> chunk) {
    auto* const first = reinterpret_cast<std::byte*>(out.data() + beginOf(extents, r));
    scatterRows(chunk, offset, rowBytes(r), first, columns * sizeof(float));
  };
  place(index_, 0, std::as_bytes(in));
  const auto mine = [&](int) { return std::as_bytes(in); };
  return exchangeAll(Operation::kAllGather, mine, [&](int r) { return rows * rowBytes(r); }, place);
}

Status Communicator::allToAll(std::span<const size_t> bytes_to, std::span<const size_t> bytes_from, std::span<const std::byte> in,
                              std::span<std::byte> out, std::string_view what) {
  EXO_TRY(expectSize(what, "sizes to send of all_to_all", group_.size(), bytes_to.size()));
  EXO_TRY(expectSize(what, "sizes to receive of all_to_all", group_.size(), bytes_from.size()));
  EXO_TRY(expectBlocks(what, "the operand of all_to_all", bytes_to, in.size()));
  EXO_TRY(expectBlocks(what, "the result of all_to_all", bytes_from, out.size()));
  EXO_TRY(expectSize(what, "what all_to_all keeps on its rank", bytes_to[index_], bytes_from[index_]));
  if (overlap(in, out)) return invalid(what, ": operand and result of all_to_all overlap");
  EXO_TRY(beginCollective(Operation::kAllToAll, what));

  const auto blockTo = [&](int r) { return in.subspan(beginOf(bytes_to, r), bytes_to[r]); };
  const auto place = [&](int r, size_t offset, std::span<const std::byte> chunk) {
    copyBytes(out.data() + beginOf(bytes_from, r) + offset, chunk);
  };
  place(index_, 0, blockTo(index_));
  return exchangeAll(Operation::kAllToAll, blockTo, [&](int r) { return bytes_from[r]; }, place);
}

Status Communicator::topKMerge(int64_t rows, int64_t k, std::span<const float> values, std::span<const int32_t> ids,
                               std::span<float> out_values, std::span<int32_t> out_ids, std::string_view what) {
  EXO_ASSIGN(const size_t count, product(what, rows, k));
  EXO_TRY(expectSize(what, "values of top_k_merge", count, values.size()));
  EXO_TRY(expectSize(what, "ids of top_k_merge", count, ids.size()));
  EXO_TRY(expectSize(what, "resulting values of top_k_merge", count, out_values.size()));
  EXO_TRY(expectSize(what, "resulting ids of top_k_merge", count, out_ids.size()));
  EXO_TRY(beginCollective(Operation::kTopKMerge, what));

  EXO_TRY(gatherBlocks(Operation::kTopKMerge, {std::as_bytes(values), std::as_bytes(ids)}));
  mergeCandidates(gathered_, size(), rows, k, out_values, out_ids);
  return {};
}

Status Communicator::logSumExpMerge(int64_t rows, int64_t d, std::span<const float> m, std::span<const float> l,
                                    std::span<const float> o, std::span<float> out, std::string_view what) {
  EXO_ASSIGN(const size_t count, product(what, rows, d));
  EXO_TRY(expectSize(what, "maxima of log_sum_exp_merge", static_cast<size_t>(rows), m.size()));
  EXO_TRY(expectSize(what, "sums of log_sum_exp_merge", static_cast<size_t>(rows), l.size()));
  EXO_TRY(expectSize(what, "outputs of log_sum_exp_merge", count, o.size()));
  EXO_TRY(expectSize(what, "the result of log_sum_exp_merge", count, out.size()));
  EXO_TRY(beginCollective(Operation::kLogSumExpMerge, what));
  EXO_TRY(gatherBlocks(Operation::kLogSumExpMerge, {std::as_bytes(m), std::as_bytes(l), std::as_bytes(o)}));
  mergeLogSumExp(gathered_, size(), rows, d, out);
  return {};
}

/// gathered_ becomes [ranks, block]: of each rank its `parts`, one behind the other, which are of equal sizes everywhere.
Status Communicator::gatherBlocks(Operation operation, std::initializer_list<std::span<const std::byte>> parts) {
  size_t block = 0;
  for (const auto part : parts) block += part.size();
  gathered_.resize(block * group_.size());
  const auto place = [&](int r, size_t offset, std::span<const std::byte> chunk) {
    copyBytes(gathered_.data() + r * block + offset, chunk);
  };
  size_t offset = 0;
  for (const auto part : parts) {
    place(index_, offset, part);
    offset += part.size();
  }
  const std::span<const std::byte> mine(gathered_.data() + index_ * block, block);
  return exchangeAll(operation, [&](int) { return mine; }, [&](int) { return block; }, place);
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
  exchange_->begin(Operation::kSend, what, sent_to_[first] + 1, timeout_);
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
  exchange_->begin(Operation::kSend, what, number, timeout_);
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
void Communicator::addWaits(std::chrono::steady_clock::time_point since, std::span<double> seconds) const { exchange_->addWaits(since, seconds); }

Status Communicator::barrier(std::string_view what) {
  EXO_TRY(beginCollective(Operation::kBarrier, what));
  const auto nothing = [](int) { return std::span<const std::byte>(); };
  return exchangeAll(Operation::kBarrier, nothing, [](int) { return size_t{0}; }, [](int, size_t, std::span<const std::byte>) {});
}

}  // namespace exo::collectives
