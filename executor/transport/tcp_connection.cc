#include "executor/transport/tcp_connection.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace exo::transport {

Result<std::unique_ptr<Connection>> TcpConnection::create(int peer, std::string peer_name, RingShape ring, FileDescriptor socket) {
  EXO_ASSIGN(Mapping send, Mapping::anonymous(ring.num_slots * (kPrefix + ring.slot_bytes)));
  EXO_ASSIGN(Mapping receive, Mapping::anonymous(ring.bytes()));
  tuneTcp(socket);
  return std::unique_ptr<Connection>(
      new TcpConnection(peer, std::move(peer_name), ring, std::move(socket), std::move(send), std::move(receive)));
}

TcpConnection::TcpConnection(int peer, std::string peer_name, RingShape ring, FileDescriptor socket, Mapping send, Mapping receive)
    : Connection(peer, std::move(peer_name), ring),
      socket_(std::move(socket)),
      send_(std::move(send)),
      receive_(std::move(receive)),
      send_bytes_(ring.num_slots),
      arrived_bytes_(ring.num_slots) {}

// Closing with unread bytes, or receiving some after the close, makes the kernel drop what the peer has not yet received.
TcpConnection::~TcpConnection() {
  using namespace std::chrono_literals;
  const auto deadline = std::chrono::steady_clock::now() + 500ms;
  const auto pending = [&] {
    int unsent = 0;
    if (failure_) return false;
    return !flushed() || (ioctl(socket_.get(), SIOCOUTQ, &unsent) == 0 && unsent > 0);
  };
  while (pending() && std::chrono::steady_clock::now() < deadline) {
    readSome();
    std::this_thread::sleep_for(1ms);
  }
  readSome();
}

void TcpConnection::fail(ErrorCode code, const std::string& why) {
  if (!failure_) failure_ = makeError(code, ErrorScope::kLink, "rank ", peer(), " (", peerName(), ") ", why);
}

bool TcpConnection::canSend(uint64_t seq) {
  if (seq - credit_ < ring().num_slots) return true;
  writeSome();  // credits only come for what is out
  readSome();
  return seq - credit_ < ring().num_slots;
}

std::span<std::byte> TcpConnection::sendSlot(uint64_t seq) { return {sendBase(seq) + kPrefix, ring().slot_bytes}; }

Status TcpConnection::commit(uint64_t seq, size_t bytes) {
  EXO_CHECK(seq == sendSequence() && bytes <= ring().slot_bytes && seq - credit_ < ring().num_slots);
  if (failure_) return *failure_;
  send_bytes_[slotIndex(seq)] = bytes;
  committedOne(bytes);
  writeSome();
  if (failure_) return *failure_;
  return {};
}

bool TcpConnection::flushed() {
  writeSome();
  return written_sequence_ == sendSequence();  // a credit under way is no loss should the peer be gone
}

Poll TcpConnection::received(uint64_t seq) {
  if (seq >= arrived_) {
    if (!writing_.empty()) writeSome();
    readSome();
  }
  if (seq < arrived_) return {Poll::State::kArrived, arrived_bytes_[slotIndex(seq)]};
  return {failure_ ? Poll::State::kBroken : Poll::State::kNotYet};
}

std::span<const std::byte> TcpConnection::receiveSlot(uint64_t seq) const {
  return {receiveBase(seq), arrived_bytes_[slotIndex(seq)]};
}

void TcpConnection::release(uint64_t seq) {
  EXO_CHECK(seq == receiveSequence() && seq < arrived_);
  releasedOne();
  if (creditDue()) writeSome();
}

Status TcpConnection::status() {
  writeSome();
  readSome();
  if (failure_) return *failure_;
  return {};
}

bool TcpConnection::creditDue() const {
  return receiveSequence() - reported_ >= std::max<size_t>(1, ring().num_slots / 2);
}

/// Puts the next frame into writing_; false when there is none. Credits first: the peer may be waiting for them.
bool TcpConnection::nextFrame() {
  const bool credit = creditDue();
  if (!credit && written_sequence_ == sendSequence()) return false;
  FrameHeader header;
  header.released = reported_ = receiveSequence();
  if (credit) {
    header.type = FrameHeader::kCredit;
    credit_frame_ = header;
    writing_ = std::as_bytes(std::span(&credit_frame_, 1));
  } else {
    const size_t bytes = send_bytes_[slotIndex(written_sequence_)];
    header.sequence = written_sequence_;
    header.bytes = bytes;
    std::byte* frame = sendBase(written_sequence_) + kPrefix - sizeof(header);
    std::memcpy(frame, &header, sizeof(header));
    writing_ = {frame, sizeof(header) + bytes};
  }
  writing_data_ = !credit;
  return true;
}

void TcpConnection::writeSome() {
  while (!failure_ && (!writing_.empty() || nextFrame())) {
    const ssize_t sent = send(socket_.get(), writing_.data(), writing_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (sent < 0) {
      const int error = errno;
      readSome();  // what it said before it went is still to be delivered
      return fail(ErrorCode::kPeerLost, "is gone: " + errnoText(error));
    }
    writing_ = writing_.subspan(static_cast<size_t>(sent));
    if (writing_.empty() && writing_data_) ++written_sequence_;
  }
}

/// Bytes read; 0 when there are none now, or never again.
size_t TcpConnection::readInto(std::byte* to, size_t size) {
  const ssize_t got = recv(socket_.get(), to, size, MSG_DONTWAIT);
  if (got > 0) return static_cast<size_t>(got);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  readable_ = false;
  const bool truncated = in_payload_ || buffer_end_ != buffer_begin_;
  const std::string how = got == 0 ? "closed the link or died" : "is gone: " + errnoText(errno);
  fail(ErrorCode::kPeerLost, how + (truncated ? " in the middle of a message" : ""));
  return 0;
}

void TcpConnection::readSome() {
  // Bounded: a peer that floods us with credits must not keep us here.
  for (int reads = 0; readable_ && reads < 64; ++reads) {
    const size_t missing = payload_bytes_ - payload_got_;
    if (in_payload_ && missing >= kReadBytes) {
      const size_t got = readInto(receiveBase(arrived_) + payload_got_, missing);
      if (got == 0) return;
      payload_got_ += got;
    } else {
      std::memmove(buffer_.data(), buffer_.data() + buffer_begin_, buffer_end_ - buffer_begin_);
      buffer_end_ -= buffer_begin_;
      buffer_begin_ = 0;
      const size_t room = buffer_.size() - buffer_end_;
      const size_t got = readInto(buffer_.data() + buffer_end_, room);
      if (got == 0) return;
      buffer_end_ += got;
      parse();
      if (got < room) return;  // the socket is empty: save the call that would say so
      continue;
    }
    parse();
  }
}

/// Consumes the buffer as far as it goes. Afterwards it holds less than a header.
void TcpConnection::parse() {
  while (readable_) {
    const size_t have = buffer_end_ - buffer_begin_;
    if (in_payload_) {
      const size_t take = std::min(have, payload_bytes_ - payload_got_);
      std::memcpy(receiveBase(arrived_) + payload_got_, buffer_.data() + buffer_begin_, take);
      payload_got_ += take;
      buffer_begin_ += take;
      if (payload_got_ < payload_bytes_) return;
      in_payload_ = false;
      arrived_bytes_[slotIndex(arrived_)] = payload_bytes_;
      ++arrived_;
    } else {
      FrameHeader header;
      if (have < sizeof(header)) return;
      std::memcpy(&header, buffer_.data() + buffer_begin_, sizeof(header));
      buffer_begin_ += sizeof(header);
      if (!takeHeader(header)) return;
    }
  }
}

bool TcpConnection::takeHeader(const FrameHeader& header) {
  const auto lie = [&](const std::string& why) {
    readable_ = false;
    fail(ErrorCode::kMismatch, "broke the protocol: " + why);
    return false;
  };
  const auto number = [](uint64_t value) { return std::to_string(value); };
  if (header.magic != FrameHeader::kMagic) return lie("a frame begins with " + number(header.magic));
  if (header.released < credit_ || header.released > sendSequence())
    return lie("it released " + number(header.released) + " messages of " + number(sendSequence()));
  credit_ = header.released;
  if (header.type == FrameHeader::kCredit) {
    if (header.bytes != 0 || header.sequence != 0) return lie("a credit with a payload");
    return true;
  }
  if (header.type != FrameHeader::kData) return lie("frame type " + number(header.type));
  if (header.sequence != arrived_) return lie("message " + number(arrived_) + " expected, got " + number(header.sequence));
  if (header.sequence - receiveSequence() >= ring().num_slots) return lie("more messages than slots");
  if (header.bytes > ring().slot_bytes)
    return lie("a message of " + number(header.bytes) + " B for slots of " + number(ring().slot_bytes) + " B");
  in_payload_ = true;
  payload_got_ = 0;
  payload_bytes_ = header.bytes;
  return true;
}

}  // namespace exo::transport
