// openapi.json against the running server: every path and method is in both, its examples are answered, and answers, events and
// errors are as their schemas say. What the cluster shows of itself is described in a file of its own, to which it refers.
#include <gtest/gtest.h>

#include <fstream>
#include <filesystem>
#include <set>

#include "executor/dashboard/dashboard.h"
#include "executor/serve/dialects/cluster_routes.h"
#include "executor/serve/dialects/fields.h"
#include "executor/serve/dialects/service.h"
#include "tests/executor/serve/http/client.h"
#include "tests/executor/serve/scripted_engine.h"

namespace exo::serve {
namespace {

/// A file beside openapi.json; "" is openapi.json itself.
const Json& document(const std::string& name = "") {
  static std::map<std::string, Json> parsed;
  const auto [place, is_new] = parsed.try_emplace(name);
  const std::filesystem::path path = EXO_OPENAPI;
  if (is_new) place->second = Json::parse(std::ifstream(name.empty() ? path : path.parent_path() / name));
  return place->second;
}

bool hasType(const Json& value, const Json& types) {
  if (types.is_array()) return std::any_of(types.begin(), types.end(), [&](const Json& one) { return hasType(value, one); });
  const std::string type = types;
  if (type == "null") return value.is_null();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "array") return value.is_array();
  return type == "object" && value.is_object();
}

/// What is wrong, with its place; empty if nothing. The parts of JSON Schema that openapi.json uses; another one is an error.
/// `file`: the document that the schema is in.
std::string differenceOf(const Json& value, const Json& schema, const std::string& path = "$", const std::string& file = "") {
  static const std::set<std::string> kKnown = {"$ref", "type", "enum", "const", "oneOf", "properties", "required", "items", "minimum", "maximum", "description", "additionalProperties"};
  for (const auto& [key, unused] : schema.items()) {
    if (!kKnown.count(key)) return "schema keyword " + key;
  }
  if (schema.contains("$ref")) {
    const std::string reference = schema["$ref"];
    const size_t hash = reference.find('#');
    const std::string target = hash == 0 ? file : reference.substr(0, hash);
    return differenceOf(value, document(target).at(Json::json_pointer(reference.substr(hash + 1))), path, target);
  }
  if (schema.contains("type") && !hasType(value, schema["type"])) return path + " is " + describe(value) + ", not " + schema["type"].dump();
  if (schema.contains("const") && value != schema["const"]) return path + " is " + describe(value);
  if (schema.contains("enum") && std::count(schema["enum"].begin(), schema["enum"].end(), value) == 0) return path + " is " + describe(value);
  if (schema.contains("minimum") && value < schema["minimum"]) return path + " is " + describe(value);
  if (schema.contains("maximum") && value > schema["maximum"]) return path + " is " + describe(value);
  if (schema.contains("oneOf") && std::none_of(schema["oneOf"].begin(), schema["oneOf"].end(), [&](const Json& one) { return differenceOf(value, one, path, file).empty(); })) return path + " fits nothing";
  for (const Json& name : schema.value("required", Json::array())) {
    if (!value.contains(name)) return path + " lacks " + name.get<std::string>();
  }
  if (value.is_object()) {
    const Json properties = schema.value("properties", Json::object());   // items() does not keep it
    for (const auto& [name, inner] : properties.items()) {
      if (!value.contains(name)) continue;
      if (const std::string wrong = differenceOf(value[name], inner, path + "." + name, file); !wrong.empty()) return wrong;
    }
    const Json others = schema.value("additionalProperties", Json(true));
    for (const auto& [name, inner] : value.items()) {
      if (properties.contains(name)) continue;
      if (others == Json(false)) return path + " has " + name;
      if (!others.is_object()) continue;
      if (const std::string wrong = differenceOf(inner, others, path + "." + name, file); !wrong.empty()) return wrong;
    }
  }
  if (value.is_array() && schema.contains("items")) {
    for (const Json& entry : value) {
      if (const std::string wrong = differenceOf(entry, schema["items"], path + "[]", file); !wrong.empty()) return wrong;
    }
  }
  return "";
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(c));
  return text;
}

plan::Plan onePlan() {
  plan::Plan plan;
  plan.set_model("test");
  for (uint32_t rank = 0; rank < 2; ++rank) {
    plan.add_programs()->set_rank(rank);
    plan.add_nodes()->set_name(rank == 0 ? "desk" : "mini");
    plan.mutable_nodes(static_cast<int>(rank))->set_rank(rank);
  }
  return plan;
}

ClusterFacts factsAt(double time) {
  NodeStatus desk{.name = "desk", .state = "serving", .memory = NodeMemory{1, 2, 3, 4}, .reading = cluster::NodeReading{.processors = 4, .temperature_c = 50}};
  NodeStatus mini{.name = "mini", .state = "loading", .loading = {{1, 2}}};
  return {.time = time, .engine = EngineState::kServing, .requests = {{.id = 7, .label = "chatcmpl-1"}}, .nodes = {desk, mini}, .links = {{"desk", "mini", "tcp", "", 10.5}}};
}

/// What a browser's event source makes of a stream: the data lines.
std::vector<Json> eventsOf(const std::string& text) {
  std::vector<Json> events;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("data: ")) events.push_back(Json::parse(line.substr(6)));
  return events;
}

struct OpenApiTest : ::testing::Test {
  testing::ScriptedEngine engine{testing::testModel(testing::kToolTemplate)};
  ClusterState state{onePlan(), nullptr, engine.model(), "test", 1000};
  Service service{engine, {}};
  std::unique_ptr<http::Server> server;

  OpenApiTest() {
    service.mount(clusterRoutes(engine, state));
    for (const double time : {1, 2}) state.publish(factsAt(time));
    engine.answerWith([](const CompletionRequest&) { return testing::Script{{"<think>", "hm</think>", "Yes ", "<tool_call>{\"name\":\"f\"}</tool_call>"}}; });
    auto started = http::Server::start({}, service);
    EXPECT_TRUE(started.ok());
    server = std::move(*started);
  }

  testing::Client::Response ask(const std::string& method, std::string path, const std::string& body) {
    if (const size_t name = path.find("{name}"); name != std::string::npos) path.replace(name, 6, "org/test-model");
    if (const size_t id = path.find("{id}"); id != std::string::npos) path.replace(id, 4, "7");
    if (path == "/{file}") path = dashboard::paths()[0];
    testing::Client client(server->port());
    return client.ask(upper(method) + " " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }

  template <class Visit>
  void forEachOperation(Visit visit) {
    for (const auto& [path, methods] : document()["paths"].items()) {
      for (const auto& [method, operation] : methods.items()) visit(path, method, operation);
    }
  }
};

/// A stream that goes on until its client leaves.
bool isEndless(const Json& operation) {
  return !operation.contains("requestBody") && operation.contains(Json::json_pointer("/responses/200/content/text~1event-stream"));
}

TEST_F(OpenApiTest, HasEveryRouteAndNoOther) {
  std::set<std::string> served, described;
  for (const http::Route& route : service.routes()) {
    std::string pattern = route.pattern;
    if (pattern.ends_with("/*")) pattern.replace(pattern.size() - 1, 1, "{name}");
    if (const size_t star = pattern.find('*'); star != std::string::npos) pattern.replace(star, 1, "{id}");
    const auto files = dashboard::paths();
    if (std::count(files.begin(), files.end(), pattern)) pattern = "/{file}";   // their names hold hashes
    served.insert(route.method + " " + pattern);
  }
  forEachOperation([&](const std::string& path, const std::string& method, const Json&) { described.insert(upper(method) + " " + path); });
  EXPECT_EQ(served, described);
}

TEST_F(OpenApiTest, AnswersAreAsDescribed) {
  forEachOperation([&](const std::string& path, const std::string& method, const Json& operation) {
    const Json body = operation.contains("requestBody") ? operation["requestBody"]["content"]["application/json"] : Json();
    if (!body.is_null()) {
      EXPECT_EQ(differenceOf(body["example"], body["schema"]), "") << path;
    }
    if (isEndless(operation)) return;
    const auto answer = ask(method, path, body.is_null() ? "" : dump(body["example"]));
    if (operation["responses"].contains("204")) {
      EXPECT_EQ(answer.status, 204) << path;
      return;
    }
    if (!operation["responses"].contains("200")) {
      EXPECT_EQ(answer.status, 400) << path;
      EXPECT_EQ(differenceOf(Json::parse(answer.body), operation["responses"]["default"]["content"]["application/json"]["schema"]), "") << path << answer.body;
      return;
    }
    EXPECT_EQ(answer.status, 200) << path << answer.body;
    const Json content = operation["responses"]["200"]["content"];
    if (content.contains("application/json")) {
      EXPECT_EQ(differenceOf(Json::parse(answer.body), content["application/json"]["schema"]), "") << path << answer.body;
    }
  });
}

TEST_F(OpenApiTest, EventsAreAsDescribed) {
  int streams = 0;
  forEachOperation([&](const std::string& path, const std::string& method, const Json& operation) {
    for (const char* type : {"text/event-stream", "application/x-ndjson"}) {
      if (isEndless(operation) || !operation["responses"].contains("200") || !operation["responses"]["200"]["content"].contains(type)) continue;
      Json body = operation["requestBody"]["content"]["application/json"]["example"];
      body["stream"] = true;
      const auto answer = ask(method, path, dump(body));
      EXPECT_NE(answer.head.find(type), std::string::npos) << path << answer.head;
      std::istringstream lines(answer.body);
      for (std::string line; std::getline(lines, line);) {
        if (line.empty() || line.starts_with("event: ") || line == "data: [DONE]") continue;
        const Json event = Json::parse(line.starts_with("data: ") ? line.substr(6) : line);
        EXPECT_EQ(differenceOf(event, operation["responses"]["200"]["content"][type]["schema"]), "") << path << line;
      }
      ++streams;
    }
  });
  EXPECT_GE(streams, 9);
}

TEST_F(OpenApiTest, EventsOfTheClusterAreAsDescribed) {
  const Json operation = document()["paths"]["/v1/cluster/events"]["get"];
  ASSERT_TRUE(isEndless(operation));
  testing::Client client(server->port());
  client.send(testing::get("/v1/cluster/events"));
  const std::vector<Json> first = eventsOf(client.readUntil("}\n\n"));
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(differenceOf(first[0], document("state/cluster_state.schema.json")["$defs"]["State"], "$", "state/cluster_state.schema.json"), "");
  state.publish(factsAt(3));
  const std::vector<Json> second = eventsOf(client.readUntil("}\n\n"));
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(differenceOf(second[0], operation["responses"]["200"]["content"]["text/event-stream"]["schema"]), "");
  EXPECT_FALSE(second[0].contains("shards"));
  EXPECT_NE(differenceOf(Json{{"instance", "x"}, {"number", 1}, {"surprise", 2}}, operation["responses"]["200"]["content"]["text/event-stream"]["schema"]), "");
}

TEST_F(OpenApiTest, ErrorsAreAsDescribed) {
  forEachOperation([&](const std::string& path, const std::string& method, const Json& operation) {
    if (!operation.contains("requestBody")) return;
    const auto answer = ask(method, path, "{\"model\": 3, ");
    EXPECT_EQ(answer.status, 400) << path;
    EXPECT_EQ(differenceOf(Json::parse(answer.body), operation["responses"]["default"]["content"]["application/json"]["schema"]), "") << path << answer.body;
  });
}

}  // namespace
}  // namespace exo::serve
