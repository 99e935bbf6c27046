#include "bench/flags.h"

#include <gflags/gflags.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <iostream>
#include <sstream>

#include "bench/machine.h"
#include "frontend/driver/command_line.h"
#include "frontend/flags/flags.h"

namespace exo::bench {
namespace {

void printHelp(const char* usage, const std::vector<std::string>& flags) {
  std::cout << usage << "\n";
  for (const std::string& flag : flags) {
    gflags::CommandLineFlagInfo info;
    if (gflags::GetCommandLineFlagInfo(flag.c_str(), &info)) std::cout << "  --" << flag << "  " << info.description << " (" << info.default_value << ")\n";
  }
}

int fail(const Error& error) {
  std::cout.flush();
  std::cerr << error << std::endl;
  return exitCode(error);
}

}  // namespace

Result<std::vector<std::string>> listFlag(const char* flag, const std::string& text) {
  std::vector<std::string> items;
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) {
    if (item.empty()) return invalid("--", flag, ": expected items separated by commas, got \"", text, "\"");
    items.push_back(item);
  }
  if (items.empty()) return invalid("--", flag, ": expected at least one item");
  return items;
}

Result<int> numberFlag(const char* flag, const std::string& text, int most) {
  const bool digits = !text.empty() && text.size() < 8 && text.find_first_not_of("0123456789") == std::string::npos;
  const int number = digits ? std::stoi(text) : 0;
  if (number < 1 || number > most) return invalid("--", flag, ": expected 1 to ", most, ", got \"", text, "\"");
  return number;
}

Status checkRange(const char* flag, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return {};
  return invalid("--", flag, ": expected ", least, " to ", most, ", got ", value);
}

int runBenchmark(int argc, char** argv, const char* usage, const std::vector<std::string>& flags, const std::function<Status()>& body) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (std::find(arguments.begin(), arguments.end(), "--help") != arguments.end()) {
    printHelp(usage, flags);
    return 0;
  }
  std::signal(SIGPIPE, SIG_IGN);
  try {
    const auto rest = parseFlags(arguments, flags);
    if (!rest.ok()) return fail(rest.error());
    if (!rest->empty()) return fail(invalid("expected flags only, got \"", rest->front(), "\" (--help lists them)"));
    printMachine();
    const Status status = body();
    return status.ok() ? 0 : fail(status.error());
  } catch (const std::exception& exception) {
    return fail(makeError(ErrorCode::kIo, "unexpected failure: ", exception.what()));
  }
}

}  // namespace exo::bench
