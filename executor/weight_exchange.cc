#include "executor/weight_exchange.h"

#include <algorithm>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "executor/collectives/collectives.h"
#include "executor/transport/verbs/connection.h"

namespace exo {
namespace {

using collectives::Communicator;
using transport::Kind;
using transport::verbs::OfferedMemory;
using transport::verbs::RemoteMemory;
using transport::verbs::VerbsConnection;

constexpr size_t kBatchBytes = 1 << 20;      // of f32 rows, unless one row is longer
constexpr size_t kMaxRowBytes = 64 << 20;
constexpr size_t kMaxText = 512;             // of a name, an identity, an error
constexpr int64_t kScaleBlock = 32;
constexpr size_t kBatchesKept = 16;          // several threads read rows of different tensors
constexpr const char* kWhat = "weights of a peer";

struct Text {
  uint32_t bytes = 0;
  char text[kMaxText] = {};
  Text() = default;
  explicit Text(std::string_view from) : bytes(static_cast<uint32_t>(std::min(from.size(), kMaxText))) { std::memcpy(text, from.data(), bytes); }
  std::string string() const { return {text, std::min<size_t>(bytes, kMaxText)}; }
};

struct Announcement {
  uint32_t has_weights = 0;
  Text identity;
};

struct Request {
  enum Kind : uint32_t { kDone, kFind, kContains, kRows };
  uint32_t kind = kDone;
  uint32_t num_dims = 0;
  int64_t shape[2] = {};
  TensorSlice slice;
  Text name;
};

struct Reply {
  uint32_t ok = 0, code = 0;   // of Error
  uint32_t num_dims = 0;       // kFind: of what is stored
  uint32_t has_scales = 0;     // kRows: f16 per block of 32 columns and row, behind the rows
  int64_t shape[2] = {};
  uint64_t bytes = 0;          // that follow, or lie in `memory`
  RemoteMemory memory;
  Text text;                   // the error, or the format stored
};

static_assert(std::is_trivially_copyable_v<Announcement> && std::is_trivially_copyable_v<Request> && std::is_trivially_copyable_v<Reply>);
template <class T>
std::span<const std::byte> bytesOf(const T& value) { return std::as_bytes(std::span(&value, 1)); }
template <class T>
std::span<std::byte> bytesInto(T& value) { return std::as_writable_bytes(std::span(&value, 1)); }

Result<std::unique_ptr<Communicator>> pairOf(transport::Mesh& mesh, int peer, std::chrono::milliseconds timeout) {
  return Communicator::create(mesh, {std::min(mesh.rank(), peer), std::max(mesh.rank(), peer)}, {.timeout = timeout});
}

size_t scalesOf(int64_t columns) { return static_cast<size_t>((columns + kScaleBlock - 1) / kScaleBlock); }

/// Is it one that readRows may be asked for, and does the answer fit into memory?
Status checkRequest(const Request& request) {
  if (request.num_dims < 1 || request.num_dims > 2) return invalid("tensors have 1 or 2 dimensions, asked for ", request.num_dims);
  const int64_t rows = request.num_dims == 2 ? request.shape[0] : 1, columns = request.shape[request.num_dims - 1];
  if (request.kind != Request::kRows) return {};
  const TensorSlice& slice = request.slice;
  const bool inside = slice.row_begin >= 0 && slice.row_begin < slice.row_end && slice.row_end <= rows && slice.column_begin >= 0 &&
                      slice.column_begin < slice.column_end && slice.column_end <= columns;
  if (!inside) return invalid("asked for rows or columns outside of the tensor");
  const auto row_bytes = static_cast<size_t>(slice.columns()) * sizeof(float);
  if (row_bytes > kMaxRowBytes || (slice.rows() > 1 && static_cast<size_t>(slice.rows()) * row_bytes > kBatchBytes))
    return invalid("asked for more rows at once than ", kBatchBytes, " bytes hold");
  return {};
}

TensorRef refOf(const Request& request) {
  return {request.name.string(), {request.shape, request.shape + request.num_dims}};
}

/// Codes that callers tell apart; any other is a failure to read.
ErrorCode codeOf(uint32_t code) {
  for (const ErrorCode known : {ErrorCode::kNotFound, ErrorCode::kMismatch, ErrorCode::kUnsupported, ErrorCode::kInvalidInput})
    if (code == static_cast<uint32_t>(known)) return known;
  return ErrorCode::kIo;
}

/// Answers one taker.
class Giver {
 public:
  static Result<std::unique_ptr<Giver>> create(transport::Mesh& mesh, int peer, const TensorSource& source, std::chrono::milliseconds timeout) {
    EXO_ASSIGN(auto pair, pairOf(mesh, peer, timeout));
    return std::unique_ptr<Giver>(new Giver(mesh, peer, source, std::move(pair)));
  }

  bool done() const { return done_; }
  /// Has a request come, or will none come any more?
  bool called() {
    transport::Connection& link = mesh_.peer(peer_);
    return link.received(link.receiveSequence()).state != transport::Poll::State::kNotYet;
  }
  Status answer() {
    Request request;
    EXO_TRY(pair_->recv(peer_, bytesInto(request), kWhat));
    if (request.kind == Request::kDone) {
      done_ = true;
      return {};
    }
    Reply reply;
    bytes_.clear();
    if (const Status status = fill(request, reply); !status.ok()) {
      reply = {};
      reply.code = static_cast<uint32_t>(status.error().code());
      reply.text = Text(status.error().message());
      bytes_.clear();
    }
    reply.bytes = bytes_.size();
    EXO_TRY(offer(reply));
    const int to[] = {peer_};
    EXO_TRY(pair_->send(to, bytesOf(reply), kWhat));
    if (bytes_.empty() || offered_) return {};
    return pair_->send(to, bytes_, kWhat);
  }

 private:
  Giver(transport::Mesh& mesh, int peer, const TensorSource& source, std::unique_ptr<Communicator> pair)
      : mesh_(mesh), peer_(peer), source_(source), pair_(std::move(pair)) {}

  Status fill(const Request& request, Reply& reply) {
    EXO_TRY(checkRequest(request));
    const TensorRef ref = refOf(request);
    reply.ok = 1;
    if (request.kind == Request::kContains) {
      if (source_.contains(ref.name)) return {};
      return makeError(ErrorCode::kNotFound, "no tensor of that name");
    }
    if (request.kind == Request::kFind) {
      EXO_ASSIGN(const TensorInfo info, source_.find(ref));
      reply.num_dims = static_cast<uint32_t>(std::min<size_t>(2, info.shape.size()));
      std::copy_n(info.shape.begin(), reply.num_dims, reply.shape);
      reply.text = Text(info.format);
      return {};
    }
    return fillRows(ref, request.slice, reply);
  }

  Status fillRows(const TensorRef& ref, const TensorSlice& slice, Reply& reply) {
    const auto floats = static_cast<size_t>(slice.rows() * slice.columns());
    bytes_.resize(floats * sizeof(float));
    EXO_TRY(source_.readRows(ref, slice, {reinterpret_cast<float*>(bytes_.data()), floats}));
    if (slice.column_begin % kScaleBlock != 0) return {};
    std::vector<uint16_t> scales(scalesOf(slice.columns()));
    for (int64_t row = slice.row_begin; row < slice.row_end; ++row) {
      if (!source_.readScales(ref.name, row, slice.column_begin, scales)) return {};
      const std::span<const std::byte> more = std::as_bytes(std::span(scales));
      bytes_.insert(bytes_.end(), more.begin(), more.end());
    }
    reply.has_scales = 1;
    return {};
  }

  /// The memory of the answer, registered anew where it has moved: the taker has read the one before when it asks again.
  Status offer(Reply& reply) {
    if (mesh_.peer(peer_).kind() != Kind::kVerbs || bytes_.empty()) return {};
    auto& link = static_cast<VerbsConnection&>(mesh_.peer(peer_));
    if (!offered_ || offered_->remote().bytes < bytes_.size() || offered_->remote().address != reinterpret_cast<uint64_t>(bytes_.data())) {
      bytes_.reserve(kBatchBytes + kBatchBytes / 16);
      offered_.reset();
      EXO_ASSIGN(OfferedMemory offered, link.offer({bytes_.data(), bytes_.capacity()}));
      offered_.emplace(std::move(offered));
    }
    reply.memory = offered_->remote();
    return {};
  }

  transport::Mesh& mesh_;
  const int peer_;
  const TensorSource& source_;
  std::unique_ptr<Communicator> pair_;
  std::vector<std::byte> bytes_;
  std::optional<OfferedMemory> offered_;
  bool done_ = false;
};

/// The peer's tensors.
class PeerWeights final : public TensorSource {
 public:
  PeerWeights(transport::Mesh& mesh, int peer, std::unique_ptr<Communicator> pair, std::string identity, std::chrono::milliseconds timeout)
      : mesh_(mesh), peer_(peer), pair_(std::move(pair)), identity_(std::move(identity)), timeout_(timeout) {}
  ~PeerWeights() override {
    const int to[] = {peer_};
    if (!mesh_.failure()) (void)pair_->send(to, bytesOf(Request{}), kWhat);  // a giver that is gone needs no word
  }

  bool contains(const std::string& name) const override {
    const std::lock_guard lock(mutex_);
    Request request = requestFor(Request::kContains, {name, {1}});
    return ask(request).ok();
  }

  Result<TensorInfo> find(const TensorRef& tensor) const override {
    const std::lock_guard lock(mutex_);
    const auto key = std::pair(tensor.name, tensor.shape);
    if (const auto known = found_.find(key); known != found_.end()) return known->second;
    const Request request = requestFor(Request::kFind, tensor);
    const auto reply = ask(request);
    Result<TensorInfo> info = reply.ok() ? Result<TensorInfo>(TensorInfo{reply->text.string(), {reply->shape, reply->shape + std::min(2u, reply->num_dims)}})
                                         : Result<TensorInfo>(reply.error());
    if (info.ok() || info.error().scope() != ErrorScope::kLink) found_.emplace(key, info);
    return info;
  }

  Status readRows(const TensorRef& tensor, const TensorSlice& slice, std::span<float> out) const override {
    checkSlice(tensor, slice, out);
    const std::lock_guard lock(mutex_);
    for (int64_t row = slice.row_begin; row < slice.row_end; ++row) {
      EXO_ASSIGN(const Batch* const batch, batchWith(tensor, row, slice.column_begin, slice.column_end));
      std::memcpy(out.data() + (row - slice.row_begin) * slice.columns(), batch->row(row), static_cast<size_t>(slice.columns()) * sizeof(float));
    }
    return {};
  }

  /// Of rows that were read before, as a packer does.
  bool readScales(const std::string& name, int64_t row, int64_t column, std::span<uint16_t> out) const override {
    const std::lock_guard lock(mutex_);
    for (const Batch& batch : batches_) {
      if (!batch.has_scales || batch.tensor.name != name || batch.slice.column_begin != column || !batch.holds(row) || scalesOf(batch.slice.columns()) < out.size()) continue;
      std::memcpy(out.data(), batch.scales(row), out.size_bytes());
      return true;
    }
    return false;
  }

  std::string identity() const override { return identity_; }

 private:
  struct Batch {
    TensorRef tensor;
    TensorSlice slice;
    bool has_scales = false;
    std::vector<std::byte> bytes;

    bool holds(int64_t row) const { return row >= slice.row_begin && row < slice.row_end; }
    const std::byte* row(int64_t row) const { return bytes.data() + static_cast<size_t>((row - slice.row_begin) * slice.columns()) * sizeof(float); }
    const std::byte* scales(int64_t row) const {
      return bytes.data() + static_cast<size_t>(slice.rows() * slice.columns()) * sizeof(float) +
             static_cast<size_t>(row - slice.row_begin) * scalesOf(slice.columns()) * sizeof(uint16_t);
    }
  };

  static Request requestFor(Request::Kind kind, const TensorRef& tensor) {
    Request request{.kind = kind, .num_dims = static_cast<uint32_t>(tensor.shape.size()), .name = Text(tensor.name)};
    std::copy(tensor.shape.begin(), tensor.shape.end(), request.shape);
    return request;
  }

  /// The reply; bytes_ holds what came with it.
  Result<Reply> ask(const Request& request) const {
    if (request.name.string().size() == kMaxText) return invalid("the name of a tensor is longer than ", kMaxText - 1, " bytes");
    const int to[] = {peer_};
    EXO_TRY(pair_->send(to, bytesOf(request), kWhat));
    Reply reply;
    EXO_TRY(pair_->recv(peer_, bytesInto(reply), kWhat));
    if (reply.bytes > 2 * kMaxRowBytes) return makeError(ErrorCode::kMismatch, ErrorScope::kLink, "rank ", peer_, " answers with ", reply.bytes, " bytes");
    bytes_.resize(reply.bytes);
    if (reply.bytes > 0) EXO_TRY(takeBytes(reply));
    if (reply.ok == 1) return reply;
    return Error(codeOf(reply.code), reply.text.string() + " (says rank " + std::to_string(peer_) + ", which has the weights)", ErrorScope::kRank);
  }

  Status takeBytes(const Reply& reply) const {
    if (mesh_.peer(peer_).kind() != Kind::kVerbs) return pair_->recv(peer_, bytes_, kWhat);
    return static_cast<VerbsConnection&>(mesh_.peer(peer_)).read(reply.memory, 0, bytes_, timeout_, mesh_.cancel());
  }

  Result<const Batch*> batchWith(const TensorRef& tensor, int64_t row, int64_t column_begin, int64_t column_end) const {
    const auto fits = [&](const Batch& batch) {
      return batch.holds(row) && batch.slice.column_begin == column_begin && batch.slice.column_end == column_end && batch.tensor.name == tensor.name && batch.tensor.shape == tensor.shape;
    };
    if (const auto known = std::find_if(batches_.begin(), batches_.end(), fits); known != batches_.end()) {
      batches_.splice(batches_.begin(), batches_, known);
      return &batches_.front();
    }
    const int64_t columns = column_end - column_begin;
    const int64_t rows = std::max<int64_t>(1, static_cast<int64_t>(kBatchBytes / sizeof(float)) / columns);
    Request request = requestFor(Request::kRows, tensor);
    request.slice = {row, std::min(row + rows, tensor.rows()), column_begin, column_end};
    EXO_ASSIGN(const Reply reply, ask(request));
    const auto count = static_cast<size_t>(request.slice.rows());
    const size_t expected = count * static_cast<size_t>(columns) * sizeof(float) + (reply.has_scales != 0 ? count * scalesOf(columns) * sizeof(uint16_t) : 0);
    if (bytes_.size() != expected)
      return makeError(ErrorCode::kMismatch, ErrorScope::kLink, "rank ", peer_, " sends ", bytes_.size(), " bytes of tensor \"", tensor.name, "\" instead of ", expected);
    batches_.push_front({tensor, request.slice, reply.has_scales != 0, bytes_});
    if (batches_.size() > kBatchesKept) batches_.pop_back();
    return &batches_.front();
  }

  transport::Mesh& mesh_;
  const int peer_;
  const std::unique_ptr<Communicator> pair_;
  const std::string identity_;
  const std::chrono::milliseconds timeout_;
  mutable std::mutex mutex_;
  mutable std::vector<std::byte> bytes_;
  mutable std::list<Batch> batches_;  // the one used last first
  mutable std::map<std::pair<std::string, std::vector<int64_t>>, Result<TensorInfo>> found_;
};

}  // namespace

Result<WeightExchange> WeightExchange::agree(transport::Mesh& mesh, const TensorSource* own, std::chrono::milliseconds timeout) {
  WeightExchange exchange(mesh, own, timeout);
  std::vector<int> everyone(static_cast<size_t>(mesh.world()));
  std::iota(everyone.begin(), everyone.end(), 0);
  EXO_ASSIGN(const auto all, Communicator::create(mesh, everyone, {.timeout = timeout}));
  std::vector<int> without;
  int giver = -1;
  for (const int rank : everyone) {
    Announcement said;
    if (rank == mesh.rank()) said = {own != nullptr, Text(own != nullptr ? own->identity() : "")};
    EXO_TRY(all->broadcast(rank, bytesInto(said), kWhat));
    if (said.has_weights == 0) without.push_back(rank);
    if (said.has_weights == 0 || giver >= 0) continue;
    giver = rank;
    // A text that was cut off would stand for several.
    if (said.identity.string().size() < kMaxText) exchange.identity_ = said.identity.string();
  }
  if (giver < 0) return makeError(ErrorCode::kNotFound, "no node of the plan has the weights: at least one must be started without --weights_from_peer");
  if (own == nullptr) exchange.giver_ = giver;
  if (giver == mesh.rank()) exchange.takers_ = without;
  return exchange;
}

Result<std::unique_ptr<TensorSource>> WeightExchange::take() const {
  EXO_CHECK(giver_ >= 0);
  EXO_ASSIGN(auto pair, pairOf(*mesh_, giver_, timeout_));
  return std::unique_ptr<TensorSource>(std::make_unique<PeerWeights>(*mesh_, giver_, std::move(pair), identity_, timeout_));
}

Status WeightExchange::give(const std::atomic<bool>& cancel) const {
  std::vector<std::unique_ptr<Giver>> givers;
  for (const int taker : takers_) {
    EXO_ASSIGN(auto giver, Giver::create(*mesh_, taker, *own_, timeout_));
    givers.push_back(std::move(giver));
  }
  while (!std::all_of(givers.begin(), givers.end(), [](const auto& giver) { return giver->done(); })) {
    if (cancel) return makeError(ErrorCode::kCancelled, "giving weights was cancelled");
    bool found = false;
    for (const auto& giver : givers) {
      if (giver->done() || !giver->called()) continue;
      EXO_TRY(giver->answer());
      found = true;
    }
    // A taker packs between its requests, for a while; one that is gone ends the whole cluster, and `cancel` turns true.
    if (!found) std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return {};
}

}  // namespace exo
