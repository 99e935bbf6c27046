#include "executor/runtime/profile.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "codegen/layout.h"

namespace exo::runtime {
namespace {

using program::Call;
using program::Kernel;
using program::Program;

constexpr double kNanosecond = 1e-9;

struct Span {
  int64_t begin_ns = INT64_MAX, end_ns = INT64_MIN;
  void add(const ProfileEvent& event) {
    begin_ns = std::min(begin_ns, event.begin_ns);
    end_ns = std::max(end_ns, event.end_ns);
  }
  double seconds() const { return static_cast<double>(end_ns - begin_ns) * kNanosecond; }
};

double seconds(const ProfileEvent& event) { return static_cast<double>(event.end_ns - event.begin_ns) * kNanosecond; }
bool isWork(const ProfileEvent& event) { return event.peer == ProfileEvent::kNoPeer; }

/// "layers.3.1" becomes "layers.*.1": what repeats in every block is one line.
std::string alike(const std::string& region) {
  const size_t first = region.find('.'), last = region.rfind('.');
  return first == last ? region : region.substr(0, first) + ".*" + region.substr(last);
}

std::string kindOf(const Program& program, const Call& call) {
  if (call.has_collective()) return program::Collective::Op_Name(call.collective().op());
  return Kernel::Op_Name(program.kernels(static_cast<int>(call.kernel())).op());
}

/// Regions alike in every block. Wall time of a region: from its first call's begin to its last one's end.
struct Line {
  std::set<std::string> kinds;
  double wall_s = 0, busy_s = 0, bytes = 0;
};

struct Summary {
  std::vector<std::string> names;        // of the lines, in the order of the program
  std::map<std::string, Line> lines;
  int num_threads = 1;
  size_t num_steps = 0;
  double wall_s = 0, busy_s = 0;         // of all steps; of all threads in them
  std::map<int, double> waits_s;         // of collectives, by peer
};

Summary summarise(const Program& program, std::span<const ProfileEvent> events) {
  Summary summary;
  std::map<int32_t, Span> steps;
  std::map<std::pair<int32_t, std::string>, Span> regions;
  std::set<std::pair<int32_t, int32_t>> counted;    // calls of steps whose bytes are
  for (int i = 0; i < program.calls_size(); ++i)
    if (summary.lines.try_emplace(alike(program.calls(i).region())).second) summary.names.push_back(alike(program.calls(i).region()));
  for (const ProfileEvent& event : events) {
    const Call& call = program.calls(event.call);
    if (!isWork(event)) {
      summary.waits_s[event.peer] += seconds(event);
      continue;
    }
    Line& line = summary.lines[alike(call.region())];
    line.kinds.insert(kindOf(program, call));
    line.busy_s += seconds(event);
    if (counted.insert({event.step, event.call}).second) line.bytes += weightBytesOf(program, call, event.rows);
    steps[event.step].add(event);
    regions[{event.step, call.region()}].add(event);
    summary.num_threads = std::max(summary.num_threads, event.thread + 1);
    summary.busy_s += seconds(event);
  }
  for (const auto& [key, span] : regions) summary.lines[alike(key.second)].wall_s += span.seconds();
  for (const auto& [step, span] : steps) summary.wall_s += span.seconds();
  summary.num_steps = steps.size();
  return summary;
}

template <class... Values>
std::string formatted(const char* format, Values... values) {
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, format, values...);
  return buffer;
}

std::string joined(const std::set<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::string lineText(const std::string& name, const Line& line, const Summary& all, double read_bytes_per_s) {
  const double steps = static_cast<double>(all.num_steps), rate = line.bytes / line.wall_s;
  std::string text = formatted("  %-16s %9.3f %6.1f %% %8.0f %%", name.c_str(), line.wall_s / steps * 1e3, 100 * line.wall_s / all.wall_s,
                               100 * line.busy_s / line.wall_s / all.num_threads);
  if (line.bytes > 0) text += formatted(" %9.2f %8.1f", line.bytes / steps / 1e6, rate / 1e9);
  else text += formatted(" %9s %8s", "", "");
  text += line.bytes > 0 && read_bytes_per_s > 0 ? formatted(" %6.0f %%", 100 * rate / read_bytes_per_s) : formatted(" %8s", "");
  return text + "  " + joined(line.kinds) + "\n";
}

}  // namespace

double weightBytesOf(const Program& program, const Call& call, int64_t rows) {
  if (!call.has_kernel() || call.in_size() < 2 || !call.in(1).has_weight() || rows == 0) return 0;
  const Kernel& kernel = program.kernels(static_cast<int>(call.kernel()));
  const bool experts = kernel.op() == Kernel::EXPERT_MATMUL;
  if (kernel.op() != Kernel::MATMUL && !experts) return 0;
  const program::Weight& weight = program.weights(static_cast<int>(call.in(1).weight()));
  const int64_t matrices = experts ? std::min<int64_t>(weight.slices_size(), rows) : 1;
  return static_cast<double>(codegen::packedBytes(weight.encoding(), static_cast<int64_t>(weight.rows()), static_cast<int64_t>(weight.columns())) * matrices);
}

std::vector<CallTime> callTimes(std::span<const ProfileEvent> events) {
  std::map<std::pair<int32_t, int32_t>, Span> spans;   // by call and step
  for (const ProfileEvent& event : events)
    if (isWork(event)) spans[{event.call, event.step}].add(event);
  std::vector<CallTime> times;
  for (const auto& [key, span] : spans) {
    if (times.empty() || times.back().call != key.first) times.push_back({.call = key.first});
    ++times.back().num_steps;
    times.back().wall_s += span.seconds();
  }
  return times;
}

std::string profileTable(const Program& program, std::span<const ProfileEvent> events, double read_bytes_per_s) {
  const Summary all = summarise(program, events);
  if (all.num_steps == 0) return "no step was profiled\n";
  const double steps = static_cast<double>(all.num_steps);
  std::string text = formatted("rank %u: %zu steps of %.3f ms on %d threads\n", program.rank(), all.num_steps, all.wall_s / steps * 1e3, all.num_threads);
  text += formatted("  %-16s %9s %8s %10s %9s %8s %8s  %s\n", "region", "ms/step", "share", "busy", "MB/step", "GB/s", "of roof", "kernels");
  for (const std::string& name : all.names)
    if (all.lines.at(name).wall_s > 0) text += lineText(name, all.lines.at(name), all, read_bytes_per_s);
  text += formatted("  threads computed or communicated %.0f %% of the time, and waited for each other in the rest\n", 100 * all.busy_s / all.wall_s / all.num_threads);
  for (const auto& [peer, wait] : all.waits_s) text += formatted("  waited for rank %d: %.3f ms/step, %.1f %%\n", peer, wait / steps * 1e3, 100 * wait / all.wall_s);
  return text;
}

std::string profileTrace(const Program& program, std::span<const ProfileEvent> events, double read_bytes_per_s, const std::string& notes) {
  constexpr int kFirstPeerRow = 10'000;    // below the rows of threads
  const int rank = static_cast<int>(program.rank());
  nlohmann::json all = nlohmann::json::array();
  std::set<int> rows;
  for (const ProfileEvent& event : events) {
    const Call& call = program.calls(event.call);
    const int row = isWork(event) ? event.thread : kFirstPeerRow + event.peer;
    rows.insert(row);
    all.push_back({{"ph", "X"}, {"pid", rank}, {"tid", row}, {"name", isWork(event) ? kindOf(program, call) : "wait"}, {"cat", call.region()},
                   {"ts", static_cast<double>(event.begin_ns) / 1e3}, {"dur", seconds(event) * 1e6},
                   {"args", {{"call", call.name()}, {"step", event.step}, {"rows", event.rows}}}});
  }
  all.push_back({{"ph", "M"}, {"pid", rank}, {"name", "process_name"}, {"args", {{"name", "rank " + std::to_string(rank)}}}});
  for (int row : rows) {
    const std::string name = row < kFirstPeerRow ? "thread " + std::to_string(row) : "waiting for rank " + std::to_string(row - kFirstPeerRow);
    all.push_back({{"ph", "M"}, {"pid", rank}, {"tid", row}, {"name", "thread_name"}, {"args", {{"name", name}}}});
    all.push_back({{"ph", "M"}, {"pid", rank}, {"tid", row}, {"name", "thread_sort_index"}, {"args", {{"sort_index", row}}}});
  }
  return nlohmann::json{{"displayTimeUnit", "ns"}, {"otherData", {{"table", profileTable(program, events, read_bytes_per_s) + notes}}}, {"traceEvents", std::move(all)}}.dump();
}

}  // namespace exo::runtime
