// Command lines of benchmarks: gflags, and lists in one flag.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ir/base/result.h"

namespace exo::bench {

/// "a,b" → {"a", "b"}. Error kInvalidInput, naming the flag, when an item or all of it is empty.
Result<std::vector<std::string>> listFlag(const char* flag, const std::string& text);

/// Digits only, in [1, most]. Error kInvalidInput naming the flag.
Result<int> numberFlag(const char* flag, const std::string& text, int most);
Status checkRange(const char* flag, int64_t value, int64_t least, int64_t most);

/// Parses flags, prints the machine, runs `body`; prints its error. Returns the exit code: 0 done, 1 failed, 2 bad input.
/// `usage`: printed with the flags for --help.
int runBenchmark(int argc, char** argv, const char* usage, const std::vector<std::string>& flags, const std::function<Status()>& body);

}  // namespace exo::bench
