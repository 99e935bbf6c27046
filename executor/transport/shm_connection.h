// Shared memory between two ranks of one host: each side writes straight into the other's window.
//
// One sealed memfd per pair holds two windows, that of the dialer and that of the listener:
//   Credit | Flag[num_slots] | slot[num_slots]        what a window's owner receives, and what it has released of it
// The peer is not trusted with our memory safety: counts and sizes it writes are read once and checked.
// The Unix socket over which the memory came stays open and silent: its end is the peer's death, however it died.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "executor/transport/mapping.h"
#include "executor/transport/peer_socket.h"
#include "executor/transport/session.h"
#include "executor/transport/transport.h"

namespace exo::transport {

class ShmConnection final : public Connection {
 public:
  /// Bytes of both windows together.
  static size_t memoryBytes(const RingShape& ring);

  /// `memory` has memoryBytes(ring), zeroed before either end used it.
  ShmConnection(int peer, std::string peer_name, RingShape ring, End end, FileDescriptor socket, Mapping memory);

  Kind kind() const override { return Kind::kShm; }
  bool canSend(uint64_t seq) override;
  std::span<std::byte> sendSlot(uint64_t seq) override;
  Status commit(uint64_t seq, size_t bytes) override;
  bool flushed() override { return true; }
  Poll received(uint64_t seq) override;
  std::span<const std::byte> receiveSlot(uint64_t seq) const override;
  void release(uint64_t seq) override;
  Status status() override;

 private:
  // 128: the adjacent-line prefetcher makes neighbours of 64 bytes share their fate.
  struct alignas(128) Credit {
    std::atomic<uint64_t> released;  // messages
  };
  struct alignas(128) Flag {
    std::atomic<uint64_t> arrived;  // sequence + 1 of the message in the slot
    std::atomic<uint64_t> bytes;
  };
  static_assert(std::atomic<uint64_t>::is_always_lock_free);
  struct Window {
    Credit* credit;
    Flag* flags;
    std::byte* slots;
  };

  static size_t windowBytes(const RingShape& ring);
  static Window windowAt(std::byte* base, const RingShape& ring);
  void breakProtocol(const std::string& why);
  void ownNextSlot();

  PeerSocket socket_;
  Mapping memory_;
  Window mine_;
  Window theirs_;
  uint64_t credit_ = 0;                // last seen
  std::vector<size_t> arrived_bytes_;  // per slot, checked
  std::optional<Error> violation_;
  std::optional<Error> lost_;          // messages that arrived before are still delivered
};

}  // namespace exo::transport
