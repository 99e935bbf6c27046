#include "executor/command_line.h"

#include <gflags/gflags.h>

#include <algorithm>

#include "frontend/config/suggest.h"

namespace exo {

Status setFlags(const std::vector<std::string>& arguments, const std::vector<std::string>& known) {
  const auto isKnown = [&](const std::string& name) { return std::find(known.begin(), known.end(), name) != known.end(); };
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (!argument.starts_with("--") || argument.size() == 2) return invalid("unexpected argument \"", argument, "\" (--help lists the flags)");
    const size_t equals = argument.find('=');
    std::string flag = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
    bool has_value = equals != std::string::npos;
    gflags::CommandLineFlagInfo info;
    if (!isKnown(flag) && !has_value && flag.starts_with("no") && isKnown(flag.substr(2)) &&
        gflags::GetCommandLineFlagInfo(flag.c_str() + 2, &info) && info.type == "bool") {
      flag = flag.substr(2);
      value = "false";
      has_value = true;
    }
    if (!isKnown(flag) || !gflags::GetCommandLineFlagInfo(flag.c_str(), &info)) {
      return invalid("unknown flag --", flag, didYouMean(flag, known), " (--help lists them)");
    }
    if (!has_value && info.type == "bool") {
      value = "true";
    } else if (!has_value) {
      if (i + 1 == arguments.size()) return invalid("--", flag, ": expected a value");
      value = arguments[++i];
    }
    if (gflags::SetCommandLineOption(flag.c_str(), value.c_str()).empty()) {
      return invalid("--", flag, ": expected a value of type ", info.type, ", got \"", value, "\"");
    }
  }
  return {};
}

std::string describeFlags(const std::vector<std::string>& flags) {
  std::string text;
  for (const std::string& flag : flags) {
    gflags::CommandLineFlagInfo info;
    if (!gflags::GetCommandLineFlagInfo(flag.c_str(), &info)) continue;
    std::string line = "  --" + flag;
    if (info.type != "bool") line += "=" + (info.default_value.empty() ? "VALUE" : info.default_value);
    line.resize(std::max<size_t>(line.size() + 2, 28), ' ');
    text += line + info.description + "\n";
  }
  return text;
}

}  // namespace exo
