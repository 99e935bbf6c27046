#include "frontend/driver/commands/local_nodes.h"

#include <gflags/gflags.h>
#include <unistd.h>

#include <iostream>
#include <map>

#include "frontend/driver/commands/commands.h"

DEFINE_int32(threads, 0, "per node; 0: the machine's cores divided by the nodes");
DEFINE_string(isa, "auto", "kernels for: auto, amx, avx512-vnni, avx-vnni, avx2, neon-i8mm, neon-dotprod, generic");
DEFINE_string(tune, "auto", "how the nodes lay out the loops of matrix products: off, auto, full (see exo-exec --help)");
DEFINE_string(transport, "auto", "between nodes: auto, shm, verbs, tcp");
DEFINE_string(weight_cache_dir, "", "packed weights for the next start; default: $XDG_CACHE_HOME/exo/weights or ~/.cache/exo/weights; none: no cache");
DEFINE_int32(timeout, 120, "seconds without progress until all nodes must be ready");

namespace exo {

namespace {

/// A bar on the terminal while weights are loaded; nothing elsewhere.
void showLoading(uint64_t done, uint64_t total) {
  if (!::isatty(STDERR_FILENO)) return;
  constexpr int kWidth = 30;
  const int filled = static_cast<int>(static_cast<double>(done) / static_cast<double>(total) * kWidth);
  std::cerr << "\rloading [" << std::string(static_cast<size_t>(filled), '#') << std::string(static_cast<size_t>(kWidth - filled), ' ') << "] " << done * 100 / total << " %" << std::flush;
  if (done == total) std::cerr << "\r" << std::string(60, ' ') << "\r" << std::flush;
}

void printLinks(const LocalCluster& nodes) {
  std::map<std::string, int> pairs;
  for (const LocalCluster::Link& link : nodes.links()) ++pairs[link.transport + (link.why.empty() ? "" : " (" + link.why + ")")];
  for (const auto& [text, count] : pairs) std::cerr << count << (count == 1 ? " link: " : " links: ") << text << "\n";
}

/// All nodes run here, wherever the plan places them: say so.
void noteForeignNodes(const plan::Plan& plan) {
  for (const plan::Node& node : plan.nodes()) {
    const bool local = node.address().starts_with("127.") || node.address().starts_with("localhost:") || node.address().starts_with("[::1]");
    if (node.has_rank() && !local) std::cerr << "note: node " << node.name() << " of " << node.address() << " runs on this machine now; start exo-exec there to use that one\n";
  }
}

}  // namespace

std::vector<std::string> localNodeFlags() { return {"threads", "isa", "transport", "tune", "weight_cache_dir", "timeout"}; }

Status checkLocalNodes() {
  if (FLAGS_threads < 0 || FLAGS_threads > 4096) return invalid("--threads: expected 0 to 4096, got ", FLAGS_threads);
  if (FLAGS_timeout < 1) return invalid("--timeout: expected at least 1 second, got ", FLAGS_timeout);
  return {};
}

LocalClusterOptions localNodesFromFlags() {
  LocalClusterOptions local;
  local.threads = FLAGS_threads;
  local.isa = FLAGS_isa;
  local.transport = FLAGS_transport;
  local.tune = FLAGS_tune;
  local.weight_cache_dir = FLAGS_weight_cache_dir;
  local.timeout = std::chrono::seconds(FLAGS_timeout);
  local.on_loading = showLoading;
  return local;
}

Status refuseCompileFlags(const std::string& spec) {
  for (const std::string& flag : compileFlags()) {
    if (!gflags::GetCommandLineFlagInfoOrDie(flag.c_str()).is_default) return invalid("--", flag, ": ", spec, " is a plan, compiled already; use `exoc compile` to make another");
  }
  return {};
}

Result<std::unique_ptr<LocalCluster>> startLocalNodes(const PlanSource& source, const LocalClusterOptions& options, const std::atomic<bool>* cancel) {
  noteForeignNodes(source.plan);
  EXO_ASSIGN(std::unique_ptr<LocalCluster> nodes, LocalCluster::start(source.plan, source.directory, options, cancel));
  printLinks(*nodes);
  return nodes;
}

}  // namespace exo
