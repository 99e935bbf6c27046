// exoc pull: a model from the hub.
#include <unistd.h>

#include <chrono>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "frontend/driver/commands/commands.h"
#include "frontend/driver/interrupt.h"
#include "frontend/hub/pull.h"

namespace exo {

namespace {

using Clock = std::chrono::steady_clock;

std::string megabytes(double bytes) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(bytes < 1e10 ? 0 : 1) << (bytes < 1e10 ? bytes / 1e6 : bytes / 1e9) << (bytes < 1e10 ? " MB" : " GB");
  return out.str();
}

/// A bar on a terminal; elsewhere a line each tenth.
class ProgressLine {
 public:
  void show(const hub::PullProgress& progress) {
    if (first_.total_bytes == 0) first_ = progress;
    terminal_ ? showBar(progress) : showTenth(progress);
  }
  ~ProgressLine() {
    if (terminal_ && first_.total_bytes > 0) std::cerr << "\r\033[K" << std::flush;
  }

 private:
  static double share(const hub::PullProgress& progress) {
    return progress.total_bytes == 0 ? 1 : static_cast<double>(progress.done_bytes) / static_cast<double>(progress.total_bytes);
  }

  void showBar(const hub::PullProgress& progress) {
    constexpr int kWidth = 24;
    const int filled = static_cast<int>(share(progress) * kWidth);
    const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
    const double rate = seconds > 0.5 ? static_cast<double>(progress.done_bytes - std::min(first_.done_bytes, progress.done_bytes)) / seconds : 0;
    std::cerr << "\r[" << std::string(static_cast<size_t>(filled), '#') << std::string(static_cast<size_t>(kWidth - filled), ' ') << "] "
              << megabytes(static_cast<double>(progress.done_bytes)) << " of " << megabytes(static_cast<double>(progress.total_bytes)) << ", " << progress.done_files << " of "
              << progress.total_files << " files";
    if (rate > 0) std::cerr << ", " << megabytes(rate) << "/s, " << static_cast<int64_t>(static_cast<double>(progress.total_bytes - progress.done_bytes) / rate) << " s left";
    std::cerr << "\033[K" << std::flush;
  }

  void showTenth(const hub::PullProgress& progress) {
    const int tenth = static_cast<int>(share(progress) * 10);
    if (tenth <= tenth_ || progress.total_bytes == 0) return;
    tenth_ = tenth;
    std::cerr << tenth * 10 << " % of " << megabytes(static_cast<double>(progress.total_bytes)) << "\n";
  }

  const bool terminal_ = ::isatty(STDERR_FILENO) != 0;
  const Clock::time_point started_ = Clock::now();
  hub::PullProgress first_;
  int tenth_ = 0;
};

}  // namespace

Result<int> runPull(const std::vector<std::string>& arguments) {
  EXO_ASSIGN(const std::string spec, onlyArgument(arguments, "a model of the hub, ORG/NAME"));
  const std::optional<hub::Repository> repository = hub::parseRepository(spec);
  if (!repository) return invalid("expected ORG/NAME, ORG/NAME:VARIANT or ORG/NAME@REVISION, got \"", spec, '"');
  EXO_ASSIGN(const hub::Environment environment, hub::Environment::read());
  const Interrupt interrupt;
  hub::PullOptions options;
  options.cancel = interrupt.flag();
  std::filesystem::path model;
  {
    ProgressLine line;
    options.on_progress = [&](const hub::PullProgress& progress) { line.show(progress); };
    EXO_ASSIGN(model, hub::pull(environment, *repository, options));
  }
  std::cout << model.string() << "\n";
  return 0;
}

}  // namespace exo
