// The messages of one collective call, sent and received side by side.
//
// A message travels in chunks of at most one slot. Each chunk starts with a Tag: what it belongs to and where in the
// message it lies. Sends and receives only ever poll, so that no order of ranks or sizes can deadlock.
// Threads: as the mesh.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "executor/collectives/arrival.h"
#include "executor/transport/mesh.h"
#include "executor/transport/waiter.h"
#include "ir/base/result.h"

namespace exo::collectives {

enum class Operation : uint8_t {
  kAllReduce,
  kAllReduceGather,
  kAllReduceChain,
  kAllReduceChainBack,
  kReduceScatter,
  kAllGather,
  kAllToAll,
  kTopKMerge,
  kLogSumExpMerge,
  kSend,
  kBroadcast,
  kBarrier  // the last
};
std::string name(Operation operation);

/// At the start of every chunk. Little endian, as it lies in memory.
struct Tag {
  static constexpr uint32_t kMagic = 0x634f7865;  // "exOc"
  uint32_t magic = kMagic;
  uint32_t operation = 0;  // Operation
  uint64_t group = 0;      // hash of the ranks
  uint64_t number = 0;     // of the call in its group; of the message between the two for send
  uint64_t total = 0;      // bytes of the message
  uint64_t offset = 0;     // of this chunk in it
  uint64_t reserved[3] = {};  // the payload begins at a cache line
};
static_assert(sizeof(Tag) == 64);

class Exchange {
 public:
  static constexpr size_t kTagBytes = sizeof(Tag);

  explicit Exchange(transport::Mesh& mesh) : mesh_(mesh) {}

  /// Forgets everything of the call before; `what` outlives the call.
  void begin(Operation operation, std::string_view what, uint64_t number, std::chrono::milliseconds timeout);

  /// Adds a message. To one peer they go in the order of the calls. Sends as much as `*available` says is there
  /// (null: all of it); `data` and `available` outlive the call.
  void send(int peer, const Tag& tag, std::span<const std::byte> data, const size_t* available = nullptr);
  /// Adds a message of tag.total bytes; returns its index for the calls below. From one peer in the order of the calls.
  size_t receive(int peer, const Tag& tag);

  /// The next chunk of message `index`, if it is there; valid until releaseChunk. Of messages from one peer only the
  /// first unfinished may be asked for. A chunk that does not belong to the message breaks the exchange: run() says how.
  std::optional<std::span<const std::byte>> chunk(size_t index);
  void releaseChunk(size_t index);
  size_t receivedBytes(size_t index) const { return incoming_[index].bytes; }
  bool receivedAll(size_t index) const { return incoming_[index].done; }
  /// Of the messages since begin(), in the order of receive(); those that did not come have no time.
  std::vector<Arrival> arrivals() const;
  /// Adds to each peer's entry (by rank) the seconds from `since` until its message came.
  void addWaits(std::chrono::steady_clock::time_point since, std::span<double> seconds) const;
  /// Have the first `bytes` of every message sent so far left their source?
  bool sentAtLeast(size_t bytes) const;

  /// Payload of a full chunk.
  static size_t chunkBytes(const transport::RingShape& ring) { return ring.slot_bytes - kTagBytes; }

  /// Polls everything until all is sent and received: `consume()` takes chunks and tells whether it found any.
  template <class Consume>
  Status run(Consume&& consume) {
    transport::Waiter waiter(timeout_, mesh_.cancel(), mesh_.spinBudget());
    while (true) {
      const bool sent = sendSome();
      const bool consumed = consume();
      if (failure_) return fail(*failure_);
      if (sent || consumed) {
        waiter.restart();
      } else {
        if (complete()) return {};
        EXO_TRY(pause(waiter, consume));
      }
    }
  }

 private:
  struct Outgoing {
    transport::Connection* link;
    Tag tag;
    std::span<const std::byte> data;
    const size_t* available;
    size_t sent;
    bool done;
  };
  struct Incoming {
    transport::Connection* link;
    Tag tag;
    size_t bytes;
    bool done;
    std::chrono::steady_clock::time_point arrived = {};
  };

  template <class Consume>
  Status pause(transport::Waiter& waiter, Consume& consume) {
    switch (waiter.pause()) {
      case transport::Waiter::Verdict::kGoOn: return {};
      case transport::Waiter::Verdict::kCancelled: return fail(cancelled());
      case transport::Waiter::Verdict::kTimeout: return fail(timedOut());
      case transport::Waiter::Verdict::kCheckPeers: break;
    }
    // What a peer sent before it went is still good: look again before giving up on it.
    const Status lost = checkPeers();
    if (lost.ok() || consume()) return {};
    return fail(failure_ ? *failure_ : lost.error());
  }

  bool sendSome();
  bool sendChunk(Outgoing& out);
  bool waitsForEarlier(const Outgoing& out) const;
  bool complete();
  bool awaited(const Incoming& in) const;
  Status checkPeers();
  Status fail(const Error& error);
  void breakWith(const Error& error, const std::string& awaited);
  Error cancelled() const;
  Error timedOut() const;
  std::string callText() const;
  bool belongs(const Incoming& in, const Tag& got, size_t slot_bytes);

  transport::Mesh& mesh_;
  Operation operation_ = Operation::kBarrier;
  std::string_view what_;
  uint64_t number_ = 0;
  std::chrono::milliseconds timeout_{0};
  std::vector<Outgoing> outgoing_;
  std::vector<Incoming> incoming_;
  std::optional<Error> failure_;
};

}  // namespace exo::collectives
