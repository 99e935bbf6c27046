#include "frontend/flags/flags.h"

#include <gflags/gflags.h>

#include <algorithm>
#include <charconv>

#include "frontend/config/suggest.h"

namespace exo {

namespace {

struct Argument {
  std::string flag, value;
  bool has_value = false;
};

Argument splitArgument(const std::string& text) {
  Argument argument;
  argument.flag = text.substr(text.starts_with("--") ? 2 : 1);
  const size_t equals = argument.flag.find('=');
  if (equals == std::string::npos) return argument;
  argument.value = argument.flag.substr(equals + 1);
  argument.flag.resize(equals);
  argument.has_value = true;
  return argument;
}

bool isFlag(const std::string& text) { return text.size() > 1 && text[0] == '-' && !std::isdigit(static_cast<unsigned char>(text[1])); }

}  // namespace

Result<std::vector<std::string>> parseFlags(const std::vector<std::string>& arguments, const std::vector<std::string>& allowed) {
  const auto known = [&](const std::string& name) { return std::find(allowed.begin(), allowed.end(), name) != allowed.end(); };
  std::vector<std::string> rest;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!isFlag(arguments[i])) {
      rest.push_back(arguments[i]);
      continue;
    }
    Argument argument = splitArgument(arguments[i]);
    if (!known(argument.flag) && argument.flag.starts_with("no") && !argument.has_value && known(argument.flag.substr(2))) {
      argument = {argument.flag.substr(2), "false", true};
    }
    gflags::CommandLineFlagInfo info;
    if (!known(argument.flag) || !gflags::GetCommandLineFlagInfo(argument.flag.c_str(), &info)) {
      return invalid("unknown flag --", argument.flag, didYouMean(argument.flag, allowed), " (--help lists them)");
    }
    if (!argument.has_value && info.type == "bool") argument.value = "true";
    else if (!argument.has_value && i + 1 < arguments.size()) argument.value = arguments[++i];
    else if (!argument.has_value) return invalid("--", argument.flag, ": expected a value");
    if (gflags::SetCommandLineOption(argument.flag.c_str(), argument.value.c_str()).empty()) {
      return invalid("--", argument.flag, ": expected a value of type ", info.type, ", got \"", argument.value, '"');
    }
  }
  return rest;
}

Result<std::optional<uint64_t>> parseSeed(const std::string& flag, const std::string& text) {
  if (text.empty()) return std::optional<uint64_t>();
  uint64_t seed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (error != std::errc() || end != text.data() + text.size()) return invalid("--", flag, ": expected a number, got \"", text, "\"");
  return std::optional<uint64_t>(seed);
}

std::string describeFlags(const std::vector<std::string>& flags) {
  std::string text;
  for (const std::string& flag : flags) {
    gflags::CommandLineFlagInfo info;
    if (!gflags::GetCommandLineFlagInfo(flag.c_str(), &info)) continue;
    std::string line = "  --" + flag;
    if (info.type != "bool") line += " " + (info.default_value.empty() ? info.type : info.default_value);
    line.resize(std::max<size_t>(line.size() + 2, 28), ' ');
    text += line + info.description + "\n";
  }
  return text;
}

}  // namespace exo
