#include "frontend/driver/desk/model_host.h"

#include <algorithm>

#include "executor/serve/state/shard_map.h"
#include "frontend/driver/plan_source.h"

namespace exo {
namespace {

int64_t memoryOf(const plan::Plan& plan) {
  int64_t bytes = 0;
  for (const serve::ShardRank& rank : serve::shardMap(plan).ranks) bytes += static_cast<int64_t>(rank.weight_bytes + rank.kv_bytes + rank.arena_bytes);
  return bytes;
}

std::string mebibytes(int64_t bytes) { return std::to_string(bytes >> 20) + " MiB (" + std::to_string(bytes) + " bytes)"; }

}  // namespace

struct ModelHost::Hosted {
  HostedModel shown;
  bool leaving = false;                        // who asks for it now waits until it is loaded anew
  std::unique_ptr<LocalCluster> nodes;
};

ModelHost::ModelHost(HostOptions options) : options_(std::move(options)), thread_([this] { run(); }) {}

ModelHost::~ModelHost() {
  end([] { return false; });
}

void ModelHost::note(const std::string& line) const {
  if (options_.note) options_.note(line);
}

std::vector<HostedModel> ModelHost::loaded() const {
  const std::lock_guard lock(mutex_);
  std::vector<HostedModel> all;
  for (const auto& hosted : models_) all.push_back(hosted->shown);
  return all;
}

Result<ModelHost::Lease> ModelHost::lease(const std::string& name) {
  const auto found = std::find_if(models_.begin(), models_.end(), [&](const auto& hosted) { return hosted->shown.name == name && !hosted->leaving; });
  if (found == models_.end()) return makeError(ErrorCode::kNotFound, name, " is not loaded");
  models_.splice(models_.begin(), models_, found);
  ++models_.front()->shown.requests;
  return Lease(*this, name, models_.front()->shown.url);
}

void ModelHost::release(const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& hosted : models_) {
      if (hosted->shown.name == name && hosted->shown.requests > 0) {
        --hosted->shown.requests;
        break;
      }
    }
  }
  changed_.notify_all();
}

void ModelHost::acquire(const CatalogueEntry& entry, Ready ready) {
  std::unique_lock lock(mutex_);
  if (ending_) {
    lock.unlock();
    return ready(makeError(ErrorCode::kCancelled, "the server is stopping"));
  }
  auto there = lease(entry.name);
  if (!there.ok()) {
    jobs_.push_back({entry, std::move(ready), nullptr});
    changed_.notify_all();
    return;
  }
  lock.unlock();
  ready(std::move(there));
}

void ModelHost::unload(const std::string& name, std::function<void(Status)> done) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({{name, {}}, nullptr, std::move(done)});
  }
  changed_.notify_all();
}

void ModelHost::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ending_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    carryOut(job);
    lock.lock();
  }
}

void ModelHost::carryOut(Job& job) {
  if (cancelled_) {
    const Error stopping = makeError(ErrorCode::kCancelled, "the server is stopping");
    return job.ready ? job.ready(stopping) : job.done(stopping);
  }
  if (job.ready) return job.ready(load(job.entry));
  std::unique_ptr<Hosted> leaving;
  {
    std::unique_lock lock(mutex_);
    const auto is_it = [&](const auto& hosted) { return hosted->shown.name == job.entry.name; };
    const auto found = std::find_if(models_.begin(), models_.end(), is_it);
    if (found == models_.end()) {
      lock.unlock();
      return job.done(makeError(ErrorCode::kNotFound, job.entry.name, " is not loaded"));
    }
    Hosted& hosted = **found;
    hosted.leaving = true;
    if (!changed_.wait_for(lock, options_.patience, [&] { return hosted.shown.requests == 0 || cancelled_; })) {
      hosted.leaving = false;
      lock.unlock();
      return job.done(makeError(ErrorCode::kTimeout, job.entry.name, " still answers ", hosted.shown.requests, " requests"));
    }
    const auto again = std::find_if(models_.begin(), models_.end(), is_it);
    leaving = std::move(*again);
    models_.erase(again);
  }
  stop(std::move(leaving));
  job.done({});
}

void ModelHost::stop(std::unique_ptr<Hosted> hosted) {
  note("unloading " + hosted->shown.name);
  hosted->nodes.reset();   // nobody is being answered
}

/// What fits only where others go lets them go, the one used longest ago first.
Status ModelHost::makeRoom(int64_t bytes, const std::string& name) {
  if (bytes > options_.memory_bytes)
    return makeError(ErrorCode::kDoesNotFit, name, " needs ", mebibytes(bytes), " for weights, KV cache and activations; for models there are ", mebibytes(options_.memory_bytes), " (--memory, --max_context, --quant)");
  const auto until = std::chrono::steady_clock::now() + options_.patience;
  while (true) {
    std::unique_ptr<Hosted> leaving;
    {
      std::unique_lock lock(mutex_);
      int64_t used = 0;
      for (const auto& hosted : models_) used += hosted->shown.memory_bytes;
      if (used + bytes <= options_.memory_bytes) return {};
      Hosted& oldest = *models_.back();
      oldest.leaving = true;
      const bool idle = changed_.wait_until(lock, until, [&] { return oldest.shown.requests == 0 || cancelled_; });
      if (cancelled_) return makeError(ErrorCode::kCancelled, "the server is stopping");
      if (!idle) {
        oldest.leaving = false;
        return makeError(ErrorCode::kTimeout, name, " needs ", mebibytes(bytes), ", and of ", mebibytes(options_.memory_bytes), " models that are answering use ", mebibytes(used));
      }
      const auto found = std::find_if(models_.begin(), models_.end(), [&](const auto& hosted) { return hosted.get() == &oldest; });
      leaving = std::move(*found);
      models_.erase(found);
    }
    stop(std::move(leaving));
  }
}

Result<ModelHost::Lease> ModelHost::load(const CatalogueEntry& entry) {
  {
    const std::lock_guard lock(mutex_);   // several may have asked for it
    auto there = lease(entry.name);
    if (there.ok()) return there;
  }
  note("loading " + entry.name);
  EXO_ASSIGN(PlanSource source, openPlan(entry.stored.path.string(), options_.compile));
  const int64_t bytes = memoryOf(source.plan);
  EXO_TRY(makeRoom(bytes, entry.name));
  LocalClusterOptions nodes = options_.nodes;
  nodes.http.insert(nodes.http.end(), {"--http=127.0.0.1:0", "--model_name=" + entry.name});
  EXO_ASSIGN(std::unique_ptr<LocalCluster> cluster, LocalCluster::start(source.plan, source.directory, nodes, &cancelled_));
  auto hosted = std::make_unique<Hosted>();
  hosted->shown = {entry.name, cluster->url(), bytes, source.plan.programs_size(), 0, std::chrono::system_clock::now()};
  hosted->nodes = std::move(cluster);
  note(entry.name + " is loaded: " + mebibytes(bytes) + " on " + std::to_string(source.plan.programs_size()) + (source.plan.programs_size() == 1 ? " node" : " nodes"));
  const std::lock_guard lock(mutex_);
  models_.push_front(std::move(hosted));
  return lease(entry.name);
}

void ModelHost::end(const std::function<bool()>& wait) {
  {
    std::unique_lock lock(mutex_);
    if (ending_) return;
    ending_ = true;
    const auto busy = [&] { return std::any_of(models_.begin(), models_.end(), [](const auto& hosted) { return hosted->shown.requests > 0; }); };
    while (busy() && wait()) changed_.wait_for(lock, std::chrono::milliseconds(100));
    cancelled_ = true;
  }
  changed_.notify_all();
  thread_.join();
  models_.clear();
}

}  // namespace exo
