// The ring over RDMA: the payload is written from a registered local slot straight into the peer's, then the flag behind it
// on the same queue pair, which keeps their order; the peer polls its memory. Nobody's processor is involved on the way.
//
// Each side has one registered block:  inbox (written by the peer) | outbox (what we write from)
//   inbox, outbox:  Credit | Flag[num_slots] | slot[num_slots]
// Flags and credits prove themselves by a checksum, so that one that is only half written (nothing promises that 32 bytes
// land at once) counts as not there yet. A flag also carries the credit: a ping-pong needs no second message.
// The TCP socket over which both sides met stays open and silent: its end is the peer's death, however it died.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "executor/transport/mapping.h"
#include "executor/transport/peer_socket.h"
#include "executor/transport/transport.h"
#include "executor/transport/verbs/queue_pair.h"
#include "executor/transport/verbs/record.h"
#include "executor/transport/waiter.h"

namespace exo::transport::verbs {

/// What the peer must know to write here; on the wire as it is here.
struct InboxAddress {
  QueueAddress queue;
  uint64_t address = 0;
  uint64_t key = 0;
};

/// Memory of a rank that its peers may read, as any message may carry it.
struct RemoteMemory {
  uint64_t address = 0;
  uint64_t key = 0;
  uint64_t bytes = 0;
};

/// Offered memory: readable as long as this object lives.
class OfferedMemory {
 public:
  OfferedMemory(MemoryRegion region, std::span<std::byte> memory) : region_(std::move(region)), memory_(memory) {}
  RemoteMemory remote() const { return {reinterpret_cast<uint64_t>(memory_.data()), region_.remoteKey(), memory_.size()}; }

 private:
  MemoryRegion region_;
  std::span<std::byte> memory_;
};

class VerbsConnection final : public Connection {
 public:
  /// Not yet connected. Errors: kDoesNotFit for a ring that the device or its limits cannot hold, kIo.
  static Result<std::unique_ptr<VerbsConnection>> create(int peer, std::string peer_name, RingShape ring, const Port& port);
  /// Lets what was committed reach the peer, as long as that goes on: at most two seconds without progress.
  ~VerbsConnection() override;

  // ---- Making the link: connect; when both have, each writes a first credit to the other.
  InboxAddress address() const;
  Status connect(const Path& path, const InboxAddress& peer);
  void probe() { writeCredit(); }
  /// Has the peer's come, and is ours there? An error when it never will be.
  Result<bool> probed();
  /// From now on `socket` tells of the peer's end.
  void adopt(FileDescriptor socket);
  std::string pathText() const { return queue_->connectedText(); }

  // ---- Reading memory of the peer, which takes no part in it: for slices of weights.
  /// Lets peers read `memory`, which outlives the offer. kDoesNotFit.
  Result<OfferedMemory> offer(std::span<std::byte> memory) const;
  /// Copies bytes [offset, offset + into.size()) of what the peer offered. kInvalidInput when it offered less; kTimeout,
  /// kCancelled, kPeerLost and kMismatch (no longer offered) end the link.
  Status read(const RemoteMemory& from, uint64_t offset, std::span<std::byte> into, std::chrono::milliseconds timeout,
              const std::atomic<bool>* cancel);

  Kind kind() const override { return Kind::kVerbs; }
  bool canSend(uint64_t seq) override;
  std::span<std::byte> sendSlot(uint64_t seq) override;
  Status commit(uint64_t seq, size_t bytes) override;
  bool flushed() override;
  Poll received(uint64_t seq) override;
  std::span<const std::byte> receiveSlot(uint64_t seq) const override;
  void release(uint64_t seq) override;
  Status status() override;

 private:
  /// Both ends write only whole records and read word by word.
  struct alignas(128) Credit {
    Record<2> words;  // released, check
  };
  struct alignas(128) Flag {
    Record<4> words;  // sequence + 1 of the message in the slot, bytes, released, check
  };
  struct Box {
    Credit* credit;
    Flag* flags;
    std::byte* slots;
  };
  static constexpr size_t kCredits = 4, kReads = 8;  // under way at once

  VerbsConnection(int peer, std::string peer_name, RingShape ring, Mapping memory, MemoryRegion inbox, MemoryRegion outbox,
                  std::unique_ptr<QueuePair> queue, std::shared_ptr<Device> device);
  static size_t boxBytes(const RingShape& ring);
  static Box boxAt(std::byte* base, const RingShape& ring);
  LocalBytes local(const void* at) const { return {static_cast<const std::byte*>(at), outbox_region_.localKey()}; }
  /// Where the peer has what lies at `at` in our inbox.
  RemoteBytes remote(const void* at) const;
  void breakProtocol(const std::string& why);
  Status lost(ErrorCode code, const std::string& why);
  void takeCredit(uint64_t released);
  bool creditDue() const;
  void writeCredit();
  bool pending();
  Status awaitReads(uint64_t requests, Waiter& waiter);

  std::shared_ptr<Device> device_;
  // In this order: the queue pair goes before the memory that it writes from.
  Mapping memory_;
  MemoryRegion inbox_region_, outbox_region_;
  std::unique_ptr<QueuePair> queue_;
  PeerSocket socket_;
  Box inbox_, outbox_;
  RemoteBytes peer_inbox_ = {};

  uint64_t credit_ = 0;                 // messages the peer has released
  uint64_t reported_ = 0;               // releases told to the peer
  std::vector<uint64_t> slot_requests_; // per slot: retired, its last message is there
  std::array<uint64_t, kCredits> credit_requests_ = {};
  size_t num_credits_ = 0;
  std::vector<size_t> arrived_bytes_;   // per slot, checked
  std::optional<Error> failure_;        // messages that arrived before are still delivered
};

}  // namespace exo::transport::verbs
