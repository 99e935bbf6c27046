#include "executor/transport/verbs/queue_pair.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace exo::transport::verbs {
namespace {

// A lost packet is repeated 6 times, each after 4.096 us * 2^timeout or up to four times that: a dead peer is given up
// after about 8 s, a slow one (or a short break of the line) is not. Not 7 times: rdma_rxe takes that for "for ever".
constexpr uint8_t kTimeout = 18, kRetries = 6;
constexpr uint32_t kMaxReads = 16;
// Devices take messages of up to 2 GiB, but not all check what they get; and a large one gains nothing over several.
constexpr uint64_t kMaxChunk = uint64_t{1} << 20;

uint64_t chunkBytes(const Port& port) { return std::clamp<uint64_t>(port.max_message_bytes, 4096, kMaxChunk); }

constexpr int bytesOf(ibv_mtu mtu) { return 128 << mtu; }

ErrorCode codeOf(ibv_wc_status status) {
  const bool lost = status == IBV_WC_RETRY_EXC_ERR || status == IBV_WC_RNR_RETRY_EXC_ERR || status == IBV_WC_WR_FLUSH_ERR ||
                    status == IBV_WC_RESP_TIMEOUT_ERR || status == IBV_WC_FATAL_ERR;
  return lost ? ErrorCode::kPeerLost : ErrorCode::kMismatch;
}

}  // namespace

uint64_t QueuePair::requestsFor(const Port& port, uint64_t bytes) {
  return bytes == 0 ? 1 : (bytes + chunkBytes(port) - 1) / chunkBytes(port);
}

Result<std::unique_ptr<QueuePair>> QueuePair::create(const Port& port, uint32_t depth, uint32_t inline_bytes) {
  const Device& device = *port.device;
  const ibv_device_attr& limits = device.attributes();
  if (depth > static_cast<uint32_t>(limits.max_qp_wr) || depth > static_cast<uint32_t>(limits.max_cqe))
    return makeError(ErrorCode::kDoesNotFit, device.name(), " queues at most ", std::min(limits.max_qp_wr, limits.max_cqe),
                     " work requests, the ring needs ", depth);
  std::unique_ptr<QueuePair> out(new QueuePair(port, depth));
  out->completions_ = device.library().create_cq(device.context(), static_cast<int>(depth), nullptr, nullptr, 0);
  if (out->completions_ == nullptr)
    return makeError(ErrorCode::kIo, device.name(), " gives no completion queue of ", depth, ": ", errnoText(errno));
  // Devices refuse more inline bytes than they have, and do not tell how many those are.
  for (uint32_t granted = inline_bytes; out->queue_ == nullptr; granted /= 2) {
    ibv_qp_init_attr wanted = {};
    wanted.send_cq = wanted.recv_cq = out->completions_;
    wanted.cap = {depth, 1, 1, 1, granted};
    wanted.qp_type = IBV_QPT_RC;
    out->queue_ = device.library().create_qp(device.domain(), &wanted);
    if (out->queue_ != nullptr) out->inline_bytes_ = wanted.cap.max_inline_data;
    if (out->queue_ == nullptr && granted == 0)
      return makeError(ErrorCode::kIo, device.name(), " gives no queue pair: ", errnoText(errno));
  }
  uint32_t sequence = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&sequence), sizeof(sequence)) != 1)
    return makeError(ErrorCode::kIo, "no random bytes from OpenSSL");
  out->address_ = {out->queue_->qp_num, sequence & 0xffffff, static_cast<uint32_t>(port.mtu),
                   std::clamp<uint32_t>(static_cast<uint32_t>(limits.max_qp_rd_atom), 1, kMaxReads)};
  return out;
}

QueuePair::~QueuePair() {
  const Library& library = port_.device->library();
  if (queue_ != nullptr) library.destroy_qp(queue_);
  if (completions_ != nullptr) library.destroy_cq(completions_);
}

Status QueuePair::change(ibv_qp_attr& attributes, ibv_qp_state state, int mask) {
  attributes.qp_state = state;
  if (const int error = port_.device->library().modify_qp(queue_, &attributes, mask | IBV_QP_STATE); error != 0)
    return makeError(ErrorCode::kIo, ErrorScope::kLink, text(port_), ": the queue pair cannot go to state ", int{state}, ": ",
                     errnoText(error));
  return {};
}

Status QueuePair::connect(const Path& path, const QueueAddress& peer) {
  if (peer.mtu < IBV_MTU_256 || peer.mtu > IBV_MTU_4096)
    return makeError(ErrorCode::kMismatch, ErrorScope::kLink, "MTU code of the peer must be in [1, 5], got ", peer.mtu);
  mtu_ = std::min(port_.mtu, static_cast<ibv_mtu>(peer.mtu));

  ibv_qp_attr start = {};
  start.port_num = port_.number;
  start.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;
  EXO_TRY(change(start, IBV_QPS_INIT, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS));

  ibv_qp_attr receive = {};
  receive.path_mtu = mtu_;
  receive.dest_qp_num = peer.number;
  receive.rq_psn = peer.sequence;
  receive.max_dest_rd_atomic = static_cast<uint8_t>(address_.max_reads);
  receive.min_rnr_timer = 12;
  receive.ah_attr.port_num = port_.number;
  if (path.link_layer == Path::kEthernet) {
    receive.ah_attr.is_global = 1;
    std::memcpy(receive.ah_attr.grh.dgid.raw, path.gid.data(), path.gid.size());
    receive.ah_attr.grh.sgid_index = port_.gid_index;
    receive.ah_attr.grh.hop_limit = 64;
  } else {
    receive.ah_attr.dlid = static_cast<uint16_t>(path.lid);
  }
  EXO_TRY(change(receive, IBV_QPS_RTR,
                 IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER));

  ibv_qp_attr send = {};
  const auto own_reads = std::clamp<uint32_t>(static_cast<uint32_t>(port_.device->attributes().max_qp_init_rd_atom), 1, kMaxReads);
  send.max_rd_atomic = static_cast<uint8_t>(std::clamp<uint32_t>(peer.max_reads, 1, own_reads));
  send.timeout = kTimeout;
  send.retry_cnt = kRetries;
  send.rnr_retry = 7;
  send.sq_psn = address_.sequence;
  return change(send, IBV_QPS_RTS, IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

std::string QueuePair::connectedText() const { return text(port_) + ", MTU " + std::to_string(bytesOf(mtu_)); }

void QueuePair::appendRequests(const Transfer& transfer) {
  const bool read = transfer.direction == Transfer::Direction::kRead;
  for (uint64_t done = 0; done < transfer.bytes || done == 0;) {
    const uint64_t bytes = std::min(chunkBytes(port_), transfer.bytes - done);
    const bool last = done + bytes == transfer.bytes;
    pieces_.push_back({reinterpret_cast<uint64_t>(transfer.local.data) + done, static_cast<uint32_t>(bytes), transfer.local.key});
    ibv_send_wr request = {};
    request.num_sge = bytes == 0 ? 0 : 1;
    request.opcode = read ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE;
    request.send_flags = (last && transfer.signal == Signal::kYes ? IBV_SEND_SIGNALED : 0) |
                         (!read && bytes <= inline_bytes_ ? IBV_SEND_INLINE : 0);
    request.wr.rdma = {transfer.remote.address + done, transfer.remote.key};
    requests_.push_back(request);
    if (last) return;
    done += bytes;
  }
}

void QueuePair::post(std::span<const Transfer> transfers) {
  if (failure_) return;
  requests_.clear();
  pieces_.clear();
  for (const Transfer& transfer : transfers) appendRequests(transfer);
  EXO_CHECK(requests_.size() <= room());
  for (size_t i = 0; i < requests_.size(); ++i) {
    requests_[i].wr_id = posted_ + i + 1;  // retired() once it is done
    requests_[i].sg_list = &pieces_[i];
    requests_[i].next = i + 1 < requests_.size() ? &requests_[i + 1] : nullptr;
  }
  posted_ += requests_.size();
  ibv_send_wr* refused = nullptr;
  if (const int error = ibv_post_send(queue_, requests_.data(), &refused); error != 0)
    fail(ErrorCode::kPeerLost, "the device takes no work: " + errnoText(error));
}

void QueuePair::take(const ibv_wc& completion) {
  if (completion.status == IBV_WC_SUCCESS) {
    if (!failure_) retired_ = completion.wr_id;
  } else {
    fail(codeOf(completion.status), port_.device->library().wc_status_str(completion.status));
  }
}

void QueuePair::poll() {
  std::array<ibv_wc, 16> completions;
  for (int got = static_cast<int>(completions.size()); got == static_cast<int>(completions.size());) {
    got = ibv_poll_cq(completions_, static_cast<int>(completions.size()), completions.data());
    if (got < 0) return fail(ErrorCode::kPeerLost, "the completion queue is broken");
    for (int i = 0; i < got; ++i) take(completions[static_cast<size_t>(i)]);
  }
}

void QueuePair::fail(ErrorCode code, const std::string& why) {
  if (!failure_) failure_ = Failure{code, why + " (" + text(port_) + ")"};
}

const std::optional<QueuePair::Failure>& QueuePair::check() {
  poll();
  if (failure_) return failure_;
  if (const auto event = port_.device->failureOf(address_.number)) fail(ErrorCode::kPeerLost, *event);
  return failure_;
}

}  // namespace exo::transport::verbs
