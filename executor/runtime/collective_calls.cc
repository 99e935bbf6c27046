#include "executor/runtime/collective_calls.h"

#include <map>
#include <span>
#include <string>
#include <vector>

#include "executor/collectives/collectives.h"
#include "executor/runtime/program_check.h"
#include "executor/transport/mesh.h"

namespace exo::runtime {
namespace {

using collectives::Communicator;
using program::Collective;

/// A collective with its operands; sizes are per row of the call.
struct BoundCollective {
  Collective::Op op;
  std::string_view name;                     // of the call, in the program
  std::vector<Communicator*> communicators;  // one; SEND: one per peer, since the receiver's group is the pair
  std::vector<int> peers;                    // SEND, RECV
  std::vector<int64_t> extents;              // ALL_GATHER
  codegen::KernelArgs args;
  int64_t in_columns = 0, out_columns = 0;   // of operand 0
  int64_t row_bytes = 0;                     // SEND, RECV
};

std::span<const float> floats(const void* data, int64_t count) { return {static_cast<const float*>(data), static_cast<size_t>(count)}; }
std::span<float> floats(void* data, int64_t count) { return {static_cast<float*>(data), static_cast<size_t>(count)}; }
std::span<const int32_t> ints(const void* data, int64_t count) { return {static_cast<const int32_t*>(data), static_cast<size_t>(count)}; }
std::span<int32_t> ints(void* data, int64_t count) { return {static_cast<int32_t*>(data), static_cast<size_t>(count)}; }

/// Of a checked program.
collectives::Options optionsOf(const program::Program& program, std::chrono::milliseconds timeout) {
  using collectives::Thresholds;
  static_assert(static_cast<int>(collectives::Algorithm::kHierarchical) == program::ReduceChoice::HIERARCHICAL);
  collectives::Options options{.timeout = timeout};
  for (const program::ReduceChoice& choice : program.reduces()) {
    auto& row = options.algorithms.rows.emplace_back(collectives::AlgorithmTable::Row{{choice.ranks().begin(), choice.ranks().end()}, {{}}});
    for (const auto& step : choice.steps())
      row.all_reduce.steps.push_back({static_cast<collectives::Algorithm>(step.algorithm()), step.has_up_to_bytes() ? step.up_to_bytes() : Thresholds::kNoLimit});
  }
  if (program.bf16_above_bytes() > 0) {
    options.wire = collectives::WireFormat::kBf16;
    options.bf16_above_bytes = program.bf16_above_bytes();
  }
  return options;
}

Status sendToAll(const BoundCollective& call, std::span<const std::byte> bytes) {
  for (size_t i = 0; i < call.peers.size(); ++i)
    EXO_TRY(call.communicators[i]->send(std::span(&call.peers[i], 1), bytes, call.name));
  return {};
}

}  // namespace

class CollectiveCalls::Implementation {
 public:
  Implementation(const program::Program& program, transport::Mesh* mesh, std::chrono::milliseconds timeout)
      : program_(program), mesh_(mesh), options_(optionsOf(program, timeout)) {}

  Result<int> add(const program::Call& call, const codegen::KernelArgs& args) {
    if (mesh_ == nullptr) return invalid("a collective needs a mesh");
    const Collective& collective = call.collective();
    BoundCollective bound{.op = collective.op(), .name = call.name(), .args = args};
    bound.extents.assign(collective.extents().begin(), collective.extents().end());
    bound.peers.assign(collective.peers().begin(), collective.peers().end());
    EXO_TRY(addCommunicators(collective, bound));
    if (call.in_size() > 0) bound.in_columns = columnsOf(call.in(0));
    if (call.out_size() > 0) bound.out_columns = columnsOf(call.out(0));
    const program::Operand& first = call.in_size() > 0 ? call.in(0) : call.out(0);
    bound.row_bytes = rowBytes(bufferOf(first).encoding(), static_cast<int64_t>(bufferOf(first).columns()));
    calls_.push_back(std::move(bound));
    return static_cast<int>(calls_.size()) - 1;
  }

  Status run(int index, int64_t rows) {
    const BoundCollective& call = calls_[index];
    const int64_t in = rows * call.in_columns, out = rows * call.out_columns;
    const size_t bytes = static_cast<size_t>(rows * call.row_bytes);
    switch (call.op) {
      case Collective::ALL_REDUCE:
        return call.communicators[0]->allReduce(floats(call.args.in[0], in), floats(call.args.out[0], out), call.name);
      case Collective::ALL_GATHER:
        return call.communicators[0]->allGather(rows, call.extents, floats(call.args.in[0], in), floats(call.args.out[0], out), call.name);
      case Collective::TOP_K_MERGE:
        return call.communicators[0]->topKMerge(rows, call.in_columns, floats(call.args.in[0], in), ints(call.args.in[1], in),
                                                floats(call.args.out[0], out), ints(call.args.out[1], out), call.name);
      case Collective::SEND: return sendToAll(call, {static_cast<const std::byte*>(call.args.in[0]), bytes});
      case Collective::RECV:
        return call.communicators[0]->recv(call.peers[0], {static_cast<std::byte*>(call.args.out[0]), bytes}, call.name);
      default: return invalid("unknown collective ", static_cast<int>(call.op));
    }
  }

  std::vector<collectives::Arrival> arrivals(int index) const {
    std::vector<collectives::Arrival> all;
    for (const Communicator* communicator : calls_[index].communicators)
      for (const collectives::Arrival& arrival : communicator->arrivals()) all.push_back(arrival);
    return all;
  }

  void addWaits(int index, std::chrono::steady_clock::time_point since, std::span<double> seconds) const {
    for (const Communicator* communicator : calls_[index].communicators) communicator->addWaits(since, seconds);
  }

 private:
  const program::Buffer& bufferOf(const program::Operand& operand) const { return program_.buffers(static_cast<int>(operand.buffer())); }
  int64_t columnsOf(const program::Operand& operand) const { return static_cast<int64_t>(bufferOf(operand).columns()); }

  Status addCommunicators(const Collective& collective, BoundCollective& bound) {
    if (bound.peers.empty()) {
      EXO_ASSIGN(Communicator * communicator, communicatorOf({collective.ranks().begin(), collective.ranks().end()}));
      bound.communicators.push_back(communicator);
    }
    const int me = static_cast<int>(program_.rank());
    for (const int peer : bound.peers) {
      EXO_ASSIGN(Communicator * communicator, communicatorOf({std::min(me, peer), std::max(me, peer)}));
      bound.communicators.push_back(communicator);
    }
    return {};
  }

  /// One per distinct group.
  Result<Communicator*> communicatorOf(const std::vector<int>& group) {
    std::unique_ptr<Communicator>& communicator = communicators_[group];
    if (communicator == nullptr) {
      EXO_ASSIGN(communicator, Communicator::create(*mesh_, group, options_));
    }
    return communicator.get();
  }

  const program::Program& program_;
  transport::Mesh* mesh_;
  const collectives::Options options_;
  std::map<std::vector<int>, std::unique_ptr<Communicator>> communicators_;
  std::vector<BoundCollective> calls_;
};

CollectiveCalls::CollectiveCalls(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
CollectiveCalls::~CollectiveCalls() = default;

Result<std::unique_ptr<CollectiveCalls>> CollectiveCalls::create(const program::Program& program, transport::Mesh* mesh,
                                                                 std::chrono::milliseconds timeout) {
  if (mesh != nullptr && (mesh->rank() != static_cast<int>(program.rank()) || mesh->world() != static_cast<int>(program.world_size())))
    return invalid("the program is for rank ", program.rank(), " of ", program.world_size(), ", the mesh is of rank ", mesh->rank(),
                   " of ", mesh->world());
  return std::unique_ptr<CollectiveCalls>(new CollectiveCalls(std::make_unique<Implementation>(program, mesh, timeout)));
}

Result<int> CollectiveCalls::add(const program::Call& call, const codegen::KernelArgs& args) {
  Result<int> index = implementation_->add(call, args);
  if (index.ok()) return index;
  return std::move(index).error().note("in call \"" + call.name() + "\"");
}

Status CollectiveCalls::run(int index, int64_t rows) { return implementation_->run(index, rows); }

void CollectiveCalls::addWaits(int index, std::chrono::steady_clock::time_point since, std::span<double> seconds) const {
  implementation_->addWaits(index, since, seconds);
}
std::vector<collectives::Arrival> CollectiveCalls::arrivals(int index) const { return implementation_->arrivals(index); }

}  // namespace exo::runtime
