// The same ring over one TCP connection: commit sends the local slot as a frame, frames that arrive land in local slots.
//
//   frame = header of 32 bytes, then `bytes` of payload (data only)
//   data    the next message; also tells how many messages the sender of the frame has released
//   credit  only the latter; sent when half the ring waits to be reported, so that small messages need no second packet
//
// No thread of its own: polling reads the socket, and whatever could not be written yet goes out at the next call.
// A frame that lies (magic, sequence, size, credit) breaks the link with a typed error; slots are never overrun.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "executor/transport/mapping.h"
#include "executor/transport/socket.h"
#include "executor/transport/transport.h"

namespace exo::transport {

struct FrameHeader {
  static constexpr uint32_t kMagic = 0x466f7865;  // "exoF"
  static constexpr uint32_t kData = 1, kCredit = 2;
  uint32_t magic = kMagic;
  uint32_t type = kData;
  uint64_t sequence = 0;  // data: of this message; credit: 0
  uint64_t released = 0;  // messages of the other direction, in total
  uint64_t bytes = 0;     // data: of payload; credit: 0
};
static_assert(sizeof(FrameHeader) == 32);

class TcpConnection final : public Connection {
 public:
  /// `socket` is connected and non-blocking. kDoesNotFit when the rings cannot be allocated.
  static Result<std::unique_ptr<Connection>> create(int peer, std::string peer_name, RingShape ring, FileDescriptor socket);
  /// Lets what was committed reach the peer, for at most half a second.
  ~TcpConnection() override;

  Kind kind() const override { return Kind::kTcp; }
  bool canSend(uint64_t seq) override;
  std::span<std::byte> sendSlot(uint64_t seq) override;
  Status commit(uint64_t seq, size_t bytes) override;
  bool flushed() override;
  Poll received(uint64_t seq) override;
  std::span<const std::byte> receiveSlot(uint64_t seq) const override;
  void release(uint64_t seq) override;
  Status status() override;

 private:
  static constexpr size_t kPrefix = 64;           // before each send slot: its header, so that a frame is contiguous
  static constexpr size_t kReadBytes = 16 * 1024; // larger payloads are read straight into their slot

  TcpConnection(int peer, std::string peer_name, RingShape ring, FileDescriptor socket, Mapping send, Mapping receive);
  void fail(ErrorCode code, const std::string& why);
  std::byte* sendBase(uint64_t seq) const { return send_.data() + slotIndex(seq) * (kPrefix + ring().slot_bytes); }
  std::byte* receiveBase(uint64_t seq) const { return receive_.data() + slotIndex(seq) * ring().slot_bytes; }
  bool creditDue() const;
  bool nextFrame();
  void writeSome();
  void readSome();
  size_t readInto(std::byte* to, size_t size);
  void parse();
  bool takeHeader(const FrameHeader& header);

  FileDescriptor socket_;
  Mapping send_, receive_;
  std::optional<Error> failure_;  // messages that arrived before are still delivered
  bool readable_ = true;

  // Outgoing.
  uint64_t credit_ = 0;            // messages the peer has released
  uint64_t written_sequence_ = 0;  // messages wholly handed to the kernel
  uint64_t reported_ = 0;          // releases told to the peer
  std::vector<size_t> send_bytes_; // per slot
  FrameHeader credit_frame_;
  std::span<const std::byte> writing_;  // rest of the frame under way
  bool writing_data_ = false;

  // Incoming.
  uint64_t arrived_ = 0;              // messages wholly in their slots
  std::vector<size_t> arrived_bytes_; // per slot
  size_t payload_got_ = 0, payload_bytes_ = 0;
  bool in_payload_ = false;
  std::array<std::byte, kReadBytes> buffer_;
  size_t buffer_begin_ = 0, buffer_end_ = 0;
};

}  // namespace exo::transport
