#include "executor/transport/simulated.h"

#include <algorithm>
#include <cstdlib>
#include <random>

namespace exo::transport {
namespace {

int64_t nowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

/// One direction between two ranks.
struct SimulatedNetwork::Channel {
  struct Slot {
    std::atomic<uint64_t> arrived{0};  // sequence + 1
    size_t bytes = 0;
    int64_t visible_ns = 0;
  };
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  explicit Channel(const RingShape& ring)
      : slots(ring.num_slots), memory(static_cast<std::byte*>(std::aligned_alloc(64, ring.bytes()))) {
    EXO_CHECK(memory != nullptr);
  }

  std::vector<Slot> slots;
  std::unique_ptr<std::byte, Free> memory;
  std::atomic<uint64_t> released{0};
  std::atomic<int64_t> delay_ns{0}, jitter_ns{0};
  std::atomic<double> ns_per_byte{0};
  int64_t busy_until_ns = 0;  // the sender's: when its last message has left
};

class SimulatedConnection final : public Connection {
 public:
  SimulatedConnection(SimulatedNetwork& network, int rank, int peer, RingShape ring)
      : Connection(peer, "node" + std::to_string(peer), ring),
        out_(network.channel(rank, peer)),
        in_(network.channel(peer, rank)),
        self_dead_(network.dead_[rank]),
        peer_dead_(network.dead_[peer]) {}

  Kind kind() const override { return Kind::kSimulated; }
  bool canSend(uint64_t seq) override { return seq - out_.released.load(std::memory_order_acquire) < ring().num_slots; }
  std::span<std::byte> sendSlot(uint64_t seq) override {
    return {out_.memory.get() + slotIndex(seq) * ring().slot_bytes, ring().slot_bytes};
  }

  Status commit(uint64_t seq, size_t bytes) override {
    EXO_CHECK(seq == sendSequence() && bytes <= ring().slot_bytes && canSend(seq));
    EXO_TRY(status());
    SimulatedNetwork::Channel::Slot& slot = out_.slots[slotIndex(seq)];
    slot.bytes = bytes;
    slot.visible_ns = arrivalNs(seq, bytes);
    slot.arrived.store(seq + 1, std::memory_order_release);
    committedOne(bytes);
    return {};
  }
  bool flushed() override { return true; }

  Poll received(uint64_t seq) override {
    if (self_dead_.load()) return {Poll::State::kBroken};
    const SimulatedNetwork::Channel::Slot& slot = in_.slots[slotIndex(seq)];
    if (slot.arrived.load(std::memory_order_acquire) != seq + 1)
      return {peer_dead_.load() ? Poll::State::kBroken : Poll::State::kNotYet};
    if (nowNs() < slot.visible_ns) return {};
    return {Poll::State::kArrived, slot.bytes};
  }
  std::span<const std::byte> receiveSlot(uint64_t seq) const override {
    return {in_.memory.get() + slotIndex(seq) * ring().slot_bytes, in_.slots[slotIndex(seq)].bytes};
  }
  void release(uint64_t seq) override {
    EXO_CHECK(seq == receiveSequence());
    releasedOne();
    if (!self_dead_.load()) in_.released.store(receiveSequence(), std::memory_order_release);
  }

  Status status() override {
    if (self_dead_.load()) return makeError(ErrorCode::kPeerLost, ErrorScope::kRank, "this rank was killed");
    if (peer_dead_.load())
      return makeError(ErrorCode::kPeerLost, ErrorScope::kLink, "rank ", peer(), " (", peerName(), ") closed the link or died");
    return {};
  }

 private:
  int64_t arrivalNs(uint64_t seq, size_t bytes) {
    const auto wire_ns = static_cast<int64_t>(out_.ns_per_byte.load(std::memory_order_relaxed) * static_cast<double>(bytes));
    out_.busy_until_ns = std::max(out_.busy_until_ns, nowNs()) + wire_ns;
    const int64_t jitter_ns = out_.jitter_ns.load(std::memory_order_relaxed);
    const int64_t more_ns = jitter_ns == 0 ? 0 : static_cast<int64_t>(std::mt19937_64(seq)() % static_cast<uint64_t>(jitter_ns));
    return out_.busy_until_ns + out_.delay_ns.load(std::memory_order_relaxed) + more_ns;
  }

  SimulatedNetwork::Channel& out_;
  SimulatedNetwork::Channel& in_;
  const std::atomic<bool>& self_dead_;
  const std::atomic<bool>& peer_dead_;
};

SimulatedNetwork::SimulatedNetwork(int world, RingShape ring)
    : world_(world), ring_(ring), dead_(std::make_unique<std::atomic<bool>[]>(world)) {
  EXO_CHECK(validate(ring).ok());
  for (int i = 0; i < world * world; ++i) channels_.push_back(std::make_unique<Channel>(ring));
}

SimulatedNetwork::~SimulatedNetwork() = default;

std::unique_ptr<Mesh> SimulatedNetwork::mesh(int rank, const std::atomic<bool>* cancel) {
  std::vector<std::unique_ptr<Connection>> links(world_);
  for (int peer = 0; peer < world_; ++peer)
    if (peer != rank) links[peer] = std::make_unique<SimulatedConnection>(*this, rank, peer, ring_);
  return std::make_unique<Mesh>(rank, std::move(links), cancel);
}

void SimulatedNetwork::setDelay(int from, int to, std::chrono::microseconds delay, std::chrono::microseconds jitter) {
  channel(from, to).delay_ns.store(std::chrono::nanoseconds(delay).count());
  channel(from, to).jitter_ns.store(std::chrono::nanoseconds(jitter).count());
}

void SimulatedNetwork::setBandwidth(int from, int to, double bytes_per_s) {
  channel(from, to).ns_per_byte.store(bytes_per_s > 0 ? 1e9 / bytes_per_s : 0);
}

void SimulatedNetwork::kill(int rank) { dead_[rank].store(true); }

}  // namespace exo::transport
