// One reliable connection to a peer: a queue pair with its completion queue, and the accounting of what was posted.
// Work is done in order; only some of it is signalled, and a completion retires all that was posted before it.
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "executor/transport/verbs/device.h"
#include "ir/base/result.h"

namespace exo::transport::verbs {

/// What the peer must know to connect; on the wire as it is here.
struct QueueAddress {
  uint32_t number = 0;
  uint32_t sequence = 0;     // first packet's
  uint32_t mtu = 0;          // ibv_mtu
  uint32_t max_reads = 0;    // RDMA READs it answers at once
};

/// Bytes of a registered region of ours and of the peer's.
struct LocalBytes {
  const std::byte* data;
  uint32_t key;
};
struct RemoteBytes {
  uint64_t address;
  uint32_t key;
};

enum class Signal { kNo, kYes };

struct Transfer {
  enum class Direction { kWrite, kRead } direction;
  LocalBytes local;
  RemoteBytes remote;
  uint64_t bytes;
  Signal signal;
};

class QueuePair {
 public:
  /// Work requests that a transfer of so many bytes takes: it is cut into messages that the port takes.
  static uint64_t requestsFor(const Port& port, uint64_t bytes);
  /// Room for `depth` work requests. Of `inline_bytes` as much as the device grants.
  static Result<std::unique_ptr<QueuePair>> create(const Port& port, uint32_t depth, uint32_t inline_bytes);
  ~QueuePair();
  QueuePair(const QueuePair&) = delete;
  QueuePair& operator=(const QueuePair&) = delete;

  QueueAddress address() const { return address_; }
  /// To the peer's queue pair at `path`. Errors name the step.
  Status connect(const Path& path, const QueueAddress& peer);
  /// "MTU 4096", after connect().
  std::string connectedText() const;

  /// In one go, so that the device is told once. What does not fit the queue is our own mistake.
  void post(std::span<const Transfer> transfers);

  /// Counts of work requests. All below retired() are done: local memory may be reused, the peer has what was written.
  uint64_t posted() const { return posted_; }
  uint64_t retired() const { return retired_; }
  uint64_t room() const { return depth_ - (posted_ - retired_); }
  /// Takes completions.
  void poll();
  /// The first thing that went wrong; nothing is retired any more.
  struct Failure {
    ErrorCode code;
    std::string why;
  };
  const std::optional<Failure>& failure() const { return failure_; }
  /// The same, after asking the device as well. One system call.
  const std::optional<Failure>& check();

 private:
  QueuePair(const Port& port, uint32_t depth) : port_(port), depth_(depth) {}
  Status change(ibv_qp_attr& attributes, ibv_qp_state state, int mask);
  void fail(ErrorCode code, const std::string& why);
  void take(const ibv_wc& completion);
  void appendRequests(const Transfer& transfer);

  Port port_;
  uint32_t depth_;
  uint32_t inline_bytes_ = 0;
  ibv_cq* completions_ = nullptr;
  ibv_qp* queue_ = nullptr;
  QueueAddress address_;
  ibv_mtu mtu_ = IBV_MTU_256;
  uint64_t posted_ = 0, retired_ = 0;
  std::optional<Failure> failure_;
  std::vector<ibv_send_wr> requests_;  // of one post(), as are its pieces
  std::vector<ibv_sge> pieces_;
};

}  // namespace exo::transport::verbs
