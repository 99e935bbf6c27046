// exoc ls, ps, load and unload: the models of a running server, in Ollama's protocol.
#include <gflags/gflags.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <iomanip>
#include <iostream>
#include <sstream>

#include "frontend/driver/commands/commands.h"
#include "frontend/driver/commands/server_flags.h"

DEFINE_bool(json, false, "print JSON, as the server tells it");

namespace exo {

namespace {

using Json = ServerClient::Json;
using Row = std::vector<std::string>;

std::string bytesShown(int64_t bytes) {
  if (bytes <= 0) return "-";
  std::ostringstream out;
  const double value = static_cast<double>(bytes);
  out << std::fixed << std::setprecision(bytes < 10'000'000'000 ? 1 : 0) << (bytes < 1'000'000'000 ? value / 1e6 : value / 1e9) << (bytes < 1'000'000'000 ? " MB" : " GB");
  return out.str();
}

/// "3 hours ago", of an RFC 3339 time.
std::string agoOf(const std::string& time) {
  std::tm parts{};
  const char* end = ::strptime(time.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (!end) return "-";
  const double seconds = std::difftime(std::time(nullptr), ::timegm(&parts));
  constexpr std::pair<double, const char*> kUnits[] = {{86400 * 365.0, "year"}, {86400 * 30.0, "month"}, {86400 * 7.0, "week"}, {86400, "day"}, {3600, "hour"}, {60, "minute"}};
  for (const auto& [length, name] : kUnits) {
    const auto count = static_cast<int64_t>(seconds / length);
    if (count >= 1) return std::to_string(count) + " " + name + (count == 1 ? "" : "s") + " ago";
  }
  return "just now";
}

/// Columns under their names; on a terminal and elsewhere, so that scripts see what people see.
void printTable(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows[0].size());
  for (const Row& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  for (const Row& row : rows) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) line += row[c] + (c + 1 < row.size() ? std::string(widths[c] - row[c].size() + 4, ' ') : "");
    std::cout << line << "\n";
  }
}

Result<int> list(const std::vector<std::string>& arguments, const char* path, Row head, Row (*row)(const Json& model)) {
  if (!arguments.empty()) return invalid("expected no argument, got \"", arguments[0], '"');
  EXO_ASSIGN(ServerClient server, serverFromFlags());
  EXO_ASSIGN(const Json answer, server.get(path));
  if (FLAGS_json) {
    std::cout << answer.dump(1) << "\n";
    return 0;
  }
  std::vector<Row> rows = {std::move(head)};
  for (const Json& model : answer.value("models", Json::array())) rows.push_back(row(model));
  printTable(rows);
  return 0;
}

std::string shortId(const Json& model) {
  const std::string digest = model.value("digest", "");
  return digest.empty() ? "-" : digest.substr(0, 12);
}

std::string detailOf(const Json& model, const char* name) {
  const std::string text = model.value("details", Json::object()).value(name, "");
  return text.empty() ? "-" : text;
}

/// Asks for the model without asking it anything.
Result<int> ask(const std::vector<std::string>& arguments, Json body, const char* done) {
  EXO_ASSIGN(const std::string model, onlyArgument(arguments, "the name of a model (exoc ls lists them)"));
  EXO_ASSIGN(ServerClient server, serverFromFlags());
  body["model"] = model;
  body["stream"] = false;
  EXO_ASSIGN(const Json answer, server.post("/api/generate", body));
  std::cout << model << " " << done << "\n";
  return 0;
}

}  // namespace

Result<int> runLs(const std::vector<std::string>& arguments) {
  return list(arguments, "/api/tags", {"NAME", "ID", "SIZE", "PARAMETERS", "STORED AS", "MODIFIED"}, [](const ServerClient::Json& model) {
    return Row{model.value("name", ""), shortId(model), bytesShown(model.value("size", int64_t{0})), detailOf(model, "parameter_size"), detailOf(model, "quantization_level"), agoOf(model.value("modified_at", ""))};
  });
}

Result<int> runPs(const std::vector<std::string>& arguments) {
  return list(arguments, "/api/ps", {"NAME", "ID", "MEMORY", "NODES", "CONTEXT", "RUNNING", "WAITING"}, [](const ServerClient::Json& model) {
    const ServerClient::Json requests = model.value("requests", ServerClient::Json::object());
    const auto number = [](const ServerClient::Json& from, const char* name) { return from.contains(name) ? from[name].dump() : std::string("-"); };
    return Row{model.value("name", ""), shortId(model), bytesShown(model.value("size", int64_t{0})), number(model, "nodes"), number(model, "context_length"), number(requests, "running"), number(requests, "waiting")};
  });
}

Result<int> runLoad(const std::vector<std::string>& arguments) { return ask(arguments, ServerClient::Json::object(), "is loaded"); }

Result<int> runUnload(const std::vector<std::string>& arguments) { return ask(arguments, {{"keep_alive", 0}}, "is unloaded"); }

}  // namespace exo
