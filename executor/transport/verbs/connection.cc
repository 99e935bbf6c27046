#include "executor/transport/verbs/connection.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace exo::transport::verbs {
namespace {

constexpr uint64_t kReadBytes = 256 * 1024;  // of one request: small enough to go on with others, large enough for the rate
constexpr uint64_t kLargeBytes = 64 * 1024;
constexpr uint32_t kInlineBytes = 256;  // flags and small messages; each entry of the queue has room for them

}  // namespace

size_t VerbsConnection::boxBytes(const RingShape& ring) {
  const size_t bytes = sizeof(Credit) + ring.num_slots * sizeof(Flag) + ring.bytes();
  return (bytes + alignof(Credit) - 1) / alignof(Credit) * alignof(Credit);
}

VerbsConnection::Box VerbsConnection::boxAt(std::byte* base, const RingShape& ring) {
  auto* credit = reinterpret_cast<Credit*>(base);
  auto* flags = reinterpret_cast<Flag*>(credit + 1);
  return {credit, flags, reinterpret_cast<std::byte*>(flags + ring.num_slots)};
}

Result<std::unique_ptr<VerbsConnection>> VerbsConnection::create(int peer, std::string peer_name, RingShape ring, const Port& port) {
  const size_t box_bytes = boxBytes(ring);
  EXO_ASSIGN(Mapping memory, Mapping::anonymous(2 * box_bytes));
  EXO_ASSIGN(MemoryRegion inbox, MemoryRegion::registered(port.device, {memory.data(), box_bytes}, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE));
  EXO_ASSIGN(MemoryRegion outbox, MemoryRegion::registered(port.device, {memory.data() + box_bytes, box_bytes}, IBV_ACCESS_LOCAL_WRITE));
  // Payload and flag of every slot, and what else may be under way.
  const uint64_t depth = ring.num_slots * (QueuePair::requestsFor(port, ring.slot_bytes) + 1) + kCredits + kReads;
  EXO_ASSIGN(auto queue, QueuePair::create(port, depth, kInlineBytes));
  return std::unique_ptr<VerbsConnection>(new VerbsConnection(peer, std::move(peer_name), ring, std::move(memory), std::move(inbox),
                                                              std::move(outbox), std::move(queue), port.device));
}

VerbsConnection::VerbsConnection(int peer, std::string peer_name, RingShape ring, Mapping memory, MemoryRegion inbox, MemoryRegion outbox,
                                 std::unique_ptr<QueuePair> queue, std::shared_ptr<Device> device)
    : Connection(peer, std::move(peer_name), ring),
      device_(std::move(device)),
      memory_(std::move(memory)),
      inbox_region_(std::move(inbox)),
      outbox_region_(std::move(outbox)),
      queue_(std::move(queue)),
      inbox_(boxAt(memory_.data(), ring)),
      outbox_(boxAt(memory_.data() + boxBytes(ring), ring)),
      slot_requests_(ring.num_slots),
      arrived_bytes_(ring.num_slots) {}

// Destroying the queue pair drops what it has not sent.
VerbsConnection::~VerbsConnection() {
  using namespace std::chrono_literals;
  auto progress_at = std::chrono::steady_clock::now();
  for (uint64_t retired = queue_->retired(); pending() && std::chrono::steady_clock::now() - progress_at < 2s;) {
    if (retired != queue_->retired()) progress_at = std::chrono::steady_clock::now();
    retired = queue_->retired();
    std::this_thread::sleep_for(100us);
  }
}

/// Is something under way to a peer that still lives? What is not signalled is known to be done by a credit behind it.
bool VerbsConnection::pending() {
  queue_->poll();
  if (queue_->retired() == queue_->posted() || queue_->failure() || socket_.state() == PeerSocket::State::kEnded) return false;
  if (credit_requests_[(num_credits_ + kCredits - 1) % kCredits] < queue_->posted()) writeCredit();
  return true;
}

InboxAddress VerbsConnection::address() const {
  return {queue_->address(), reinterpret_cast<uint64_t>(memory_.data()), inbox_region_.remoteKey()};
}

Status VerbsConnection::connect(const Path& path, const InboxAddress& peer) {
  peer_inbox_ = {peer.address, static_cast<uint32_t>(peer.key)};
  return queue_->connect(path, peer.queue);
}

Result<bool> VerbsConnection::probed() {
  queue_->poll();
  if (queue_->failure()) return makeError(queue_->failure()->code, ErrorScope::kLink, queue_->failure()->why);
  return queue_->retired() > 0 && readRecord(inbox_.credit->words).has_value();
}

void VerbsConnection::adopt(FileDescriptor socket) {
  tuneTcp(socket);
  socket_ = PeerSocket(std::move(socket));
}

RemoteBytes VerbsConnection::remote(const void* at) const {
  return {peer_inbox_.address + static_cast<uint64_t>(static_cast<const std::byte*>(at) - memory_.data()), peer_inbox_.key};
}

Status VerbsConnection::lost(ErrorCode code, const std::string& why) {
  if (!failure_) failure_ = makeError(code, ErrorScope::kLink, "rank ", peer(), " (", peerName(), ") ", why);
  return *failure_;
}

void VerbsConnection::breakProtocol(const std::string& why) { (void)lost(ErrorCode::kMismatch, "broke the protocol: " + why); }

void VerbsConnection::takeCredit(uint64_t released) {
  if (released > sendSequence())
    return breakProtocol("it released " + std::to_string(released) + " messages of " + std::to_string(sendSequence()));
  credit_ = std::max(credit_, released);  // a flag may be older than the last credit
}

bool VerbsConnection::canSend(uint64_t seq) {
  const auto free = [&] { return seq - credit_ < ring().num_slots; };
  const auto written = [&] { return slot_requests_[slotIndex(seq)] <= queue_->retired(); };
  if (!free())
    if (const auto credit = readRecord(inbox_.credit->words)) takeCredit((*credit)[0]);
  if (!free()) return false;
  if (!written()) queue_->poll();
  return written();
}

std::span<std::byte> VerbsConnection::sendSlot(uint64_t seq) {
  return {outbox_.slots + slotIndex(seq) * ring().slot_bytes, ring().slot_bytes};
}

Status VerbsConnection::commit(uint64_t seq, size_t bytes) {
  EXO_CHECK(seq == sendSequence() && bytes <= ring().slot_bytes && seq - credit_ < ring().num_slots);
  if (failure_) return *failure_;
  const size_t slot = slotIndex(seq), offset = slot * ring().slot_bytes;
  outbox_.flags[slot].words = sealed<4>({seq + 1, bytes, receiveSequence()});
  reported_ = receiveSequence();
  // Twice in a round of the ring is often enough to know of each slot in time that its last message is out; a large
  // message has the time to tell, and one that closes the link sees the progress.
  const bool told = bytes >= kLargeBytes || (seq + 1) % std::max<size_t>(1, ring().num_slots / 2) == 0;
  using enum Transfer::Direction;
  const Transfer transfers[] = {
      {kWrite, local(outbox_.slots + offset), remote(inbox_.slots + offset), bytes, Signal::kNo},
      {kWrite, local(&outbox_.flags[slot].words), remote(&inbox_.flags[slot].words), sizeof(Flag::words), told ? Signal::kYes : Signal::kNo}};
  queue_->post(std::span(transfers).subspan(bytes == 0 ? 1 : 0));
  slot_requests_[slot] = queue_->posted();
  committedOne(bytes);
  if (queue_->failure()) return lost(queue_->failure()->code, "cannot be reached: " + queue_->failure()->why);
  return {};
}

bool VerbsConnection::flushed() {
  if (creditDue()) writeCredit();
  return true;  // the device has it all
}

Poll VerbsConnection::received(uint64_t seq) {
  Flag& flag = inbox_.flags[slotIndex(seq)];
  const auto record = std::atomic_ref(flag.words[0]).load(std::memory_order_relaxed) > seq ? readRecord(flag.words) : std::nullopt;
  if (!record) {
    if (creditDue()) writeCredit();
    return {failure_ ? Poll::State::kBroken : Poll::State::kNotYet};
  }
  const auto& [arrived, bytes, released, check] = *record;
  if (arrived != seq + 1 || bytes > ring().slot_bytes) {
    breakProtocol("message " + std::to_string(seq) + " expected, got " + std::to_string(arrived - 1) + " of " + std::to_string(bytes) +
                  " B in slots of " + std::to_string(ring().slot_bytes));
    return {Poll::State::kBroken};
  }
  takeCredit(released);
  arrived_bytes_[slotIndex(seq)] = bytes;
  return {Poll::State::kArrived, bytes};
}

std::span<const std::byte> VerbsConnection::receiveSlot(uint64_t seq) const {
  return {inbox_.slots + slotIndex(seq) * ring().slot_bytes, arrived_bytes_[slotIndex(seq)]};
}

void VerbsConnection::release(uint64_t seq) {
  EXO_CHECK(seq == receiveSequence());
  releasedOne();
  if (creditDue()) writeCredit();
}

bool VerbsConnection::creditDue() const {
  return receiveSequence() - reported_ >= std::max<size_t>(1, ring().num_slots / 2);
}

/// At most kCredits are under way; a later call writes what is due by then.
void VerbsConnection::writeCredit() {
  uint64_t& oldest = credit_requests_[num_credits_ % kCredits];
  if (oldest > queue_->retired()) queue_->poll();
  if (oldest > queue_->retired()) return;
  outbox_.credit->words = sealed<2>({receiveSequence()});
  reported_ = receiveSequence();
  const Transfer transfer = {Transfer::Direction::kWrite, local(&outbox_.credit->words), remote(&inbox_.credit->words),
                             sizeof(Credit::words), Signal::kYes};
  queue_->post(std::span(&transfer, 1));
  oldest = queue_->posted();
  ++num_credits_;
}

Result<OfferedMemory> VerbsConnection::offer(std::span<std::byte> memory) const {
  EXO_ASSIGN(MemoryRegion region, MemoryRegion::registered(device_, memory, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ));
  return OfferedMemory(std::move(region), memory);
}

Status VerbsConnection::read(const RemoteMemory& from, uint64_t offset, std::span<std::byte> into, std::chrono::milliseconds timeout,
                             const std::atomic<bool>* cancel) {
  if (offset > from.bytes || into.size() > from.bytes - offset)
    return invalid("reading bytes [", offset, ", +", into.size(), ") of ", from.bytes, " that rank ", peer(), " (", peerName(), ") offers");
  if (failure_) return *failure_;
  if (into.empty()) return {};
  EXO_ASSIGN(const MemoryRegion region, MemoryRegion::registered(device_, into, IBV_ACCESS_LOCAL_WRITE));
  Waiter waiter(timeout, cancel);
  std::array<uint64_t, kReads> under_way = {};
  size_t count = 0;
  for (uint64_t done = 0; done < into.size(); ++count) {
    EXO_TRY(awaitReads(under_way[count % kReads], waiter));
    const uint64_t bytes = std::min<uint64_t>(kReadBytes, into.size() - done);
    const Transfer transfer = {Transfer::Direction::kRead, {into.data() + done, region.localKey()},
                               {from.address + offset + done, static_cast<uint32_t>(from.key)}, bytes, Signal::kYes};
    queue_->post(std::span(&transfer, 1));
    under_way[count % kReads] = queue_->posted();
    done += bytes;
  }
  return awaitReads(queue_->posted(), waiter);
}

/// Whatever ends it ends the link: the device must not write to memory that the caller has back.
Status VerbsConnection::awaitReads(uint64_t requests, Waiter& waiter) {
  for (;;) {
    queue_->poll();
    if (queue_->failure()) return lost(queue_->failure()->code, "cannot be read from: " + queue_->failure()->why);
    if (queue_->retired() >= requests) return {};
    switch (waiter.pause()) {
      case Waiter::Verdict::kGoOn: break;
      case Waiter::Verdict::kCheckPeers: EXO_TRY(status()); break;
      case Waiter::Verdict::kTimeout: return lost(ErrorCode::kTimeout, "did not deliver in time what is read from it");
      case Waiter::Verdict::kCancelled: return lost(ErrorCode::kCancelled, "is no longer read from");
    }
  }
}

Status VerbsConnection::status() {
  if (failure_) return *failure_;
  switch (socket_.state()) {
    case PeerSocket::State::kSilent: break;
    case PeerSocket::State::kSpoke: breakProtocol("it spoke on the silent socket"); return *failure_;
    case PeerSocket::State::kEnded: return lost(ErrorCode::kPeerLost, "closed the link or died");
  }
  if (const auto& failure = queue_->check()) return lost(failure->code, "cannot be reached: " + failure->why);
  if (creditDue()) writeCredit();
  return {};
}

}  // namespace exo::transport::verbs
