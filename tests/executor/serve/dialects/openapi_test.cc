// openapi.json against the running server: every path and method is in both, its examples are answered, and answers, events and
// errors are as their schemas say.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "executor/serve/dialects/fields.h"
#include "executor/serve/dialects/service.h"
#include "tests/executor/serve/http/client.h"
#include "tests/executor/serve/scripted_engine.h"

namespace exo::serve {
namespace {

const Json& document() {
  static const Json parsed = Json::parse(std::ifstream(EXO_OPENAPI));
  return parsed;
}

bool hasType(const Json& value, const std::string& type) {
  if (type == "null") return value.is_null();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  if (type == "array") return value.is_array();
  return type == "object" && value.is_object();
}

/// What is wrong, with its place; empty if nothing. The parts of JSON Schema that openapi.json uses; another one is an error.
std::string mismatch(const Json& value, const Json& schema, const std::string& path = "$") {
  static const std::set<std::string> kKnown = {"$ref", "type", "enum", "oneOf", "properties", "required", "items", "minimum", "maximum", "description", "additionalProperties"};
  for (const auto& [key, unused] : schema.items()) {
    if (!kKnown.count(key)) return "schema keyword " + key;
  }
  if (schema.contains("$ref")) return mismatch(value, document().at(Json::json_pointer(schema["$ref"].get<std::string>().substr(1))), path);
  if (schema.contains("type") && !hasType(value, schema["type"])) return path + " is " + describe(value) + ", not " + schema["type"].get<std::string>();
  if (schema.contains("enum") && std::count(schema["enum"].begin(), schema["enum"].end(), value) == 0) return path + " is " + describe(value);
  if (schema.contains("minimum") && value < schema["minimum"]) return path + " is " + describe(value);
  if (schema.contains("maximum") && value > schema["maximum"]) return path + " is " + describe(value);
  if (schema.contains("oneOf") && std::none_of(schema["oneOf"].begin(), schema["oneOf"].end(), [&](const Json& one) { return mismatch(value, one).empty(); })) return path + " fits nothing";
  for (const Json& name : schema.value("required", Json::array())) {
    if (!value.contains(name)) return path + " lacks " + name.get<std::string>();
  }
  if (value.is_object()) {
    const Json properties = schema.value("properties", Json::object());   // items() does not keep it
    for (const auto& [name, inner] : properties.items()) {
      if (!value.contains(name)) continue;
      if (const std::string wrong = mismatch(value[name], inner, path + "." + name); !wrong.empty()) return wrong;
    }
  }
  if (value.is_array() && schema.contains("items")) {
    for (const Json& entry : value) {
      if (const std::string wrong = mismatch(entry, schema["items"], path + "[]"); !wrong.empty()) return wrong;
    }
  }
  return "";
}

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(c));
  return text;
}

struct OpenApiTest : ::testing::Test {
  testing::ScriptedEngine engine{testing::testModel(testing::kToolTemplate)};
  Service service{engine, {}};
  std::unique_ptr<http::Server> server;

  OpenApiTest() {
    engine.answerWith([](const CompletionRequest&) { return testing::Script{{"<think>", "hm</think>", "Yes ", "<tool_call>{\"name\":\"f\"}</tool_call>"}}; });
    auto started = http::Server::start({}, service);
    EXPECT_TRUE(started.ok());
    server = std::move(*started);
  }

  testing::Client::Response ask(const std::string& method, std::string path, const std::string& body) {
    if (const size_t name = path.find("{name}"); name != std::string::npos) path.replace(name, 6, "org/test-model");
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

TEST_F(OpenApiTest, HasEveryRouteAndNoOther) {
  std::set<std::string> served, described;
  for (const http::Route& route : service.routes()) {
    std::string pattern = route.pattern;
    if (pattern.ends_with("/*")) pattern.replace(pattern.size() - 1, 1, "{name}");
    served.insert(route.method + " " + pattern);
  }
  forEachOperation([&](const std::string& path, const std::string& method, const Json&) { described.insert(upper(method) + " " + path); });
  EXPECT_EQ(served, described);
}

TEST_F(OpenApiTest, AnswersAreAsDescribed) {
  forEachOperation([&](const std::string& path, const std::string& method, const Json& operation) {
    const Json body = operation.contains("requestBody") ? operation["requestBody"]["content"]["application/json"] : Json();
    if (!body.is_null()) {
      EXPECT_EQ(mismatch(body["example"], body["schema"]), "") << path;
    }
    const auto answer = ask(method, path, body.is_null() ? "" : dump(body["example"]));
    if (!operation["responses"].contains("200")) {
      EXPECT_EQ(answer.status, 400) << path;
      EXPECT_EQ(mismatch(Json::parse(answer.body), operation["responses"]["default"]["content"]["application/json"]["schema"]), "") << path << answer.body;
      return;
    }
    EXPECT_EQ(answer.status, 200) << path << answer.body;
    const Json content = operation["responses"]["200"]["content"];
    if (content.contains("application/json")) {
      EXPECT_EQ(mismatch(Json::parse(answer.body), content["application/json"]["schema"]), "") << path << answer.body;
    }
  });
}

TEST_F(OpenApiTest, EventsAreAsDescribed) {
  int streams = 0;
  forEachOperation([&](const std::string& path, const std::string& method, const Json& operation) {
    for (const char* type : {"text/event-stream", "application/x-ndjson"}) {
      if (!operation["responses"].contains("200") || !operation["responses"]["200"]["content"].contains(type)) continue;
      Json body = operation["requestBody"]["content"]["application/json"]["example"];
      body["stream"] = true;
      const auto answer = ask(method, path, dump(body));
      EXPECT_NE(answer.head.find(type), std::string::npos) << path << answer.head;
      std::istringstream lines(answer.body);
      for (std::string line; std::getline(lines, line);) {
        if (line.empty() || line.starts_with("event: ") || line == "data: [DONE]") continue;
        const Json event = Json::parse(line.starts_with("data: ") ? line.substr(6) : line);
        EXPECT_EQ(mismatch(event, operation["responses"]["200"]["content"][type]["schema"]), "") << path << line;
      }
      ++streams;
    }
  });
  EXPECT_GE(streams, 9);
}

TEST_F(OpenApiTest, ErrorsAreAsDescribed) {
  forEachOperation([&](const std::string& path, const std::string& method, const Json& operation) {
    if (!operation.contains("requestBody")) return;
    const auto answer = ask(method, path, "{\"model\": 3, ");
    EXPECT_EQ(answer.status, 400) << path;
    EXPECT_EQ(mismatch(Json::parse(answer.body), operation["responses"]["default"]["content"]["application/json"]["schema"]), "") << path << answer.body;
  });
}

}  // namespace
}  // namespace exo::serve
