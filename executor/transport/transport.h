// One-sided transport to one peer: put bytes into the peer's receive window, then raise a flag; the peer polls memory.
//
// Each direction of a link is a ring of `num_slots` slots of `slot_bytes`. Message `seq` (0, 1, 2, ...) lives in slot
// seq % num_slots. A slot is written only after the peer released the message that was in it; releases travel back
// one-sidedly too (credits). Payload first, flag after: whoever sees the flag sees the payload.
//
//   sender                                     receiver
//   canSend(seq)    credit for the slot?       received(seq)    flag up?
//   sendSlot(seq)   where to write             receiveSlot(seq) where to read
//   commit(seq, n)  n bytes, then the flag     release(seq)     the credit
//
// What a slot is: shm: memory of the peer's window itself. tcp, verbs: a local slot kept until the peer's credit.
// Threads: one thread at a time per connection. No call blocks: waiting is waiter.h over these calls.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "ir/base/result.h"

namespace exo::transport {

enum class Kind { kShm, kTcp, kSimulated, kVerbs };
const char* name(Kind kind);

/// Shape of the ring of either direction; equal at both ends of a link.
struct RingShape {
  size_t slot_bytes = 256 * 1024;  // a multiple of 64 in [256, 64 MiB]
  size_t num_slots = 4;            // in [1, 1024]

  size_t bytes() const { return slot_bytes * num_slots; }
  friend bool operator==(const RingShape&, const RingShape&) = default;
};
/// kInvalidInput naming the number that is out of range.
Status validate(const RingShape& ring);

/// Has message `seq` arrived? kBroken: it never will; Connection::status() says why.
struct Poll {
  enum class State { kNotYet, kArrived, kBroken } state = State::kNotYet;
  size_t bytes = 0;  // kArrived only
};

class Connection {
 public:
  Connection(int peer, std::string peer_name, RingShape ring) : peer_(peer), peer_name_(std::move(peer_name)), ring_(ring) {}
  virtual ~Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  virtual Kind kind() const = 0;
  int peer() const { return peer_; }
  const std::string& peerName() const { return peer_name_; }
  const RingShape& ring() const { return ring_; }
  /// Why this transport, and over what: "rxe0 port 1, RoCE v2 10.0.0.1, MTU 4096", "no verbs: no verbs device".
  const std::string& why() const { return why_; }
  void setWhy(std::string why) { why_ = std::move(why); }

  /// The next message to commit, and the next one to release: both go up by one each time.
  uint64_t sendSequence() const { return send_sequence_; }
  uint64_t receiveSequence() const { return receive_sequence_; }
  /// Payload of all messages committed so far. From any thread.
  uint64_t sentBytes() const { return sent_bytes_.load(std::memory_order_relaxed); }

  /// May slot `seq` be written? True for up to num_slots messages past the last credit. Polls for credits.
  virtual bool canSend(uint64_t seq) = 0;
  /// 64-byte aligned, slot_bytes long. Only after canSend(seq); valid until commit(seq).
  virtual std::span<std::byte> sendSlot(uint64_t seq) = 0;
  /// Publishes the first `bytes` of sendSlot(seq); `seq` is sendSequence(). Error kPeerLost when the peer is gone.
  virtual Status commit(uint64_t seq, size_t bytes) = 0;
  /// Pushes what is still on this side; true when all committed messages are on their way.
  virtual bool flushed() = 0;

  /// Any seq in [receiveSequence(), receiveSequence() + num_slots). Messages that arrived before the peer died are delivered.
  virtual Poll received(uint64_t seq) = 0;
  /// The payload of an arrived message; 64-byte aligned, valid until release(seq).
  virtual std::span<const std::byte> receiveSlot(uint64_t seq) const = 0;
  /// Gives the slot back to the peer; `seq` is receiveSequence(). A peer that is gone is noticed later, not here.
  virtual void release(uint64_t seq) = 0;

  /// OK while the peer lives; else kPeerLost or, for a peer that broke the protocol, kMismatch (both scope kLink).
  /// Costs a system call.
  virtual Status status() = 0;

 protected:
  size_t slotIndex(uint64_t seq) const { return static_cast<size_t>(seq % ring_.num_slots); }
  void committedOne(size_t bytes) {
    ++send_sequence_;
    sent_bytes_.store(sent_bytes_.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
  }
  void releasedOne() { ++receive_sequence_; }

 private:
  int peer_;
  std::string peer_name_;
  RingShape ring_;
  std::string why_;
  uint64_t send_sequence_ = 0;
  uint64_t receive_sequence_ = 0;
  std::atomic<uint64_t> sent_bytes_ = 0;   // one thread writes
};

}  // namespace exo::transport
