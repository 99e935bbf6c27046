#include "executor/collectives/exchange.h"

#include <algorithm>
#include <cstring>
#include <sstream>

namespace exo::collectives {
namespace {

using transport::Connection;
using transport::Poll;

std::string rankText(const Connection& link) {
  return "rank " + std::to_string(link.peer()) + " (" + link.peerName() + ")";
}

/// "all_reduce #12 of 8192 B"
std::string tagText(const Tag& tag) {
  const std::string operation =
      tag.operation <= static_cast<uint32_t>(Operation::kBarrier) ? name(static_cast<Operation>(tag.operation)) : "unknown operation";
  return operation + " #" + std::to_string(tag.number) + " of " + std::to_string(tag.total) + " B";
}

}  // namespace

std::string name(Operation operation) {
  switch (operation) {
    case Operation::kAllReduce: return "all_reduce";
    case Operation::kAllReduceGather: return "all_reduce (second half)";
    case Operation::kAllReduceChain: return "all_reduce (chain)";
    case Operation::kAllReduceChainBack: return "all_reduce (chain, back)";
    case Operation::kReduceScatter: return "reduce_scatter";
    case Operation::kAllGather: return "all_gather";
    case Operation::kAllToAll: return "all_to_all";
    case Operation::kTopKMerge: return "top_k_merge";
    case Operation::kLogSumExpMerge: return "log_sum_exp_merge";
    case Operation::kSend: return "send";
    case Operation::kBroadcast: return "broadcast";
    case Operation::kBarrier: return "barrier";
  }
  return "?";
}

void Exchange::begin(Operation operation, std::string_view what, uint64_t number, std::chrono::milliseconds timeout) {
  operation_ = operation;
  what_ = what;
  number_ = number;
  timeout_ = timeout;
  outgoing_.clear();
  incoming_.clear();
  failure_.reset();
}

void Exchange::send(int peer, const Tag& tag, std::span<const std::byte> data, const size_t* available) {
  outgoing_.push_back({&mesh_.peer(peer), tag, data, available, 0, false});
}

size_t Exchange::receive(int peer, const Tag& tag) {
  incoming_.push_back({&mesh_.peer(peer), tag, 0, false, {}});
  return incoming_.size() - 1;
}

std::vector<Arrival> Exchange::arrivals() const {
  std::vector<Arrival> all;
  for (const Incoming& in : incoming_) all.push_back({in.link->peer(), in.arrived});
  return all;
}

void Exchange::addWaits(std::chrono::steady_clock::time_point since, std::span<double> seconds) const {
  for (const Incoming& in : incoming_)
    seconds[static_cast<size_t>(in.link->peer())] += std::max(0.0, std::chrono::duration<double>(in.arrived - since).count());
}

bool Exchange::waitsForEarlier(const Outgoing& out) const {
  return std::any_of(outgoing_.data(), &out, [&](const Outgoing& earlier) { return earlier.link == out.link && !earlier.done; });
}

bool Exchange::sendSome() {
  bool sent = false;
  for (Outgoing& out : outgoing_) {
    if (waitsForEarlier(out)) continue;
    while (!out.done && !failure_ && sendChunk(out)) sent = true;
  }
  return sent;
}

bool Exchange::sendChunk(Outgoing& out) {
  const size_t size = std::min(chunkBytes(out.link->ring()), out.data.size() - out.sent);
  if (out.available != nullptr && *out.available < out.sent + size) return false;
  const uint64_t seq = out.link->sendSequence();
  if (!out.link->canSend(seq)) return false;
  Tag tag = out.tag;
  tag.offset = out.sent;
  std::byte* slot = out.link->sendSlot(seq).data();
  std::memcpy(slot, &tag, sizeof(tag));
  if (size > 0) std::memcpy(slot + sizeof(tag), out.data.data() + out.sent, size);
  if (Status status = out.link->commit(seq, sizeof(tag) + size); !status) {
    breakWith(status.error(), "sending " + tagText(out.tag));
    return false;
  }
  out.sent += size;
  out.done = out.sent == out.data.size();
  return true;
}

bool Exchange::sentAtLeast(size_t bytes) const {
  return std::all_of(outgoing_.begin(), outgoing_.end(), [&](const Outgoing& out) { return out.sent >= bytes; });
}

std::optional<std::span<const std::byte>> Exchange::chunk(size_t index) {
  Incoming& in = incoming_[index];
  if (in.done || failure_) return std::nullopt;
  const uint64_t seq = in.link->receiveSequence();
  const Poll poll = in.link->received(seq);
  if (poll.state == Poll::State::kNotYet) return std::nullopt;
  if (poll.state == Poll::State::kBroken) {
    if (const Status status = in.link->status(); !status) breakWith(status.error(), "awaiting " + tagText(in.tag));
    return std::nullopt;
  }
  const std::span<const std::byte> slot = in.link->receiveSlot(seq);
  Tag tag;
  std::memcpy(&tag, slot.data(), std::min(sizeof(tag), slot.size()));
  if (!belongs(in, tag, slot.size())) return std::nullopt;
  if (in.arrived == std::chrono::steady_clock::time_point{}) in.arrived = std::chrono::steady_clock::now();
  return slot.subspan(sizeof(tag));
}

bool Exchange::belongs(const Incoming& in, const Tag& got, size_t slot_bytes) {
  const Tag& want = in.tag;
  const auto refuse = [&](const std::string& what) {
    failure_ = makeError(ErrorCode::kMismatch, ErrorScope::kLink, callText(), ": expected ", tagText(want), " from ",
                         rankText(*in.link), ", got ", what);
    return false;
  };
  if (slot_bytes < sizeof(Tag) || got.magic != Tag::kMagic) return refuse("a message of " + std::to_string(slot_bytes) + " B without a tag");
  if (got.operation != want.operation || got.number != want.number || got.total != want.total) return refuse(tagText(got));
  if (got.group != want.group) return refuse(tagText(got) + " of another group of ranks");
  const size_t size = std::min<size_t>(chunkBytes(in.link->ring()), want.total - in.bytes);
  if (got.offset != in.bytes || slot_bytes - sizeof(Tag) != size)
    return refuse("its bytes [" + std::to_string(got.offset) + ", +" + std::to_string(slot_bytes - sizeof(Tag)) + ") instead of [" +
                  std::to_string(in.bytes) + ", +" + std::to_string(size) + ")");
  return true;
}

void Exchange::releaseChunk(size_t index) {
  Incoming& in = incoming_[index];
  const uint64_t seq = in.link->receiveSequence();
  in.bytes += in.link->receiveSlot(seq).size() - sizeof(Tag);
  in.done = in.bytes == in.tag.total;
  in.link->release(seq);
}

bool Exchange::complete() {
  bool complete = std::all_of(incoming_.begin(), incoming_.end(), [](const Incoming& in) { return in.done; });
  for (const Outgoing& out : outgoing_) complete = out.link->flushed() && out.done && complete;  // flushed() also pushes
  return complete;
}

/// Is it this message that keeps the call waiting? Not if a chunk of it is here and waits for those of other ranks (its
/// sender may have finished and gone), nor before the messages ahead of it.
bool Exchange::awaited(const Incoming& in) const {
  const auto ahead = [&](const Incoming& earlier) { return earlier.link == in.link && !earlier.done; };
  if (in.done || std::any_of(incoming_.data(), &in, ahead)) return false;
  return in.link->received(in.link->receiveSequence()).state != Poll::State::kArrived;
}

Status Exchange::checkPeers() {
  for (const Incoming& in : incoming_) {
    if (!awaited(in)) continue;
    if (const Status status = in.link->status(); !status) {
      const Error& error = status.error();
      return makeError(error.code(), error.scope(), callText(), ": ", error.message(), " (awaiting ", tagText(in.tag), ", got ",
                       in.bytes, " B)");
    }
  }
  for (const Outgoing& out : outgoing_) {
    if (out.done && out.link->flushed()) continue;
    if (const Status status = out.link->status(); !status) {
      const Error& error = status.error();
      return makeError(error.code(), error.scope(), callText(), ": ", error.message(), " (sending ", tagText(out.tag), ", ", out.sent,
                       " B are out)");
    }
  }
  return {};
}

Status Exchange::fail(const Error& error) {
  mesh_.fail(error);
  return error;
}

void Exchange::breakWith(const Error& error, const std::string& awaited) {
  if (!failure_) failure_ = makeError(error.code(), error.scope(), callText(), ": ", error.message(), " (", awaited, ")");
}

/// all_reduce "layers.0.o_proj" #12
std::string Exchange::callText() const {
  return name(operation_) + " \"" + std::string(what_) + "\" #" + std::to_string(number_);
}

Error Exchange::cancelled() const { return makeError(ErrorCode::kCancelled, ErrorScope::kLink, callText(), " was cancelled"); }

Error Exchange::timedOut() const {
  std::ostringstream out;
  out << callText() << ": after " << timeout_.count() << " ms";
  const char* separator = " ";
  for (const Incoming& in : incoming_) {
    if (!awaited(in)) continue;
    out << separator << rankText(*in.link) << " has delivered " << in.bytes << " of " << in.tag.total << " B";
    separator = ", ";
  }
  for (const Outgoing& message : outgoing_) {
    if (message.done && message.link->flushed()) continue;
    out << separator << rankText(*message.link) << " has taken " << message.sent << " of " << message.tag.total << " B";
    separator = ", ";
  }
  return makeError(ErrorCode::kTimeout, ErrorScope::kLink, out.str());
}

}  // namespace exo::collectives
