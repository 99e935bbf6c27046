// Weights of a node without a checkpoint, from a node that has one, over the links that tensors travel on later.
//
//   all            say whether they have weights, and what those are (TensorSource::identity); a node without takes them from
//                  the lowest rank that has some
//   taker ──► Request: rows of a tensor ──► giver;   giver ──► Reply: what is there, or the error ──► taker
//   the bytes      over verbs the taker reads them out of the giver's memory (RDMA READ); else they follow the reply
//   taker ──► Request: done ──► giver
//
// Rows travel as f32, up to 1 MiB at a time, with the scales they were stored with where there are any: what is packed from
// them has the same bits as on the giver. Before the first step nothing else uses the mesh.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "executor/transport/mesh.h"
#include "frontend/checkpoint/tensor_source.h"
#include "ir/base/result.h"

namespace exo {

class WeightExchange {
 public:
  /// All ranks of the mesh call it together; `own` is null for one without weights. Mesh and source outlive the exchange.
  /// kNotFound when nobody has any, else as Communicator.
  static Result<WeightExchange> agree(transport::Mesh& mesh, const TensorSource* own, std::chrono::milliseconds timeout);

  /// The rank that this one takes its weights from; -1: it has its own.
  int giver() const { return giver_; }
  /// Those who take theirs from this rank.
  const std::vector<int>& takers() const { return takers_; }

  /// A rank without weights: its peer's. Threads: any. Tells the giver of the end when it is destroyed.
  Result<std::unique_ptr<TensorSource>> take() const;
  /// A rank that others take weights from: answers them until all are done. kCancelled once `cancel` is true.
  Status give(const std::atomic<bool>& cancel) const;

 private:
  WeightExchange(transport::Mesh& mesh, const TensorSource* own, std::chrono::milliseconds timeout) : mesh_(&mesh), own_(own), timeout_(timeout) {}

  transport::Mesh* mesh_;
  const TensorSource* own_;
  std::chrono::milliseconds timeout_;
  int giver_ = -1;
  std::string identity_;  // of the giver's weights
  std::vector<int> takers_;
};

}  // namespace exo
