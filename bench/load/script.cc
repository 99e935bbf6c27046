#include "bench/load/script.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

namespace exo::load {
namespace {

// Ids that every vocabulary has and that are no special tokens in it: in byte-level ones they are bytes.
constexpr int kFirstId = 10, kLastId = 199;

/// Streams of numbers that have nothing in common, whatever the clients' order is.
std::mt19937_64 randomOf(uint64_t seed, int number, const char* purpose) {
  std::seed_seq sequence{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), static_cast<uint32_t>(number), static_cast<uint32_t>(purpose[0])};
  return std::mt19937_64(sequence);
}

// Distributions of our own: the standard's differ from library to library.
double evenly(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }   // [0, 1)
int64_t between(std::mt19937_64& random, int64_t least, int64_t most) { return least + static_cast<int64_t>(evenly(random) * static_cast<double>(most - least + 1)); }
int64_t around(std::mt19937_64& random, int64_t mean) { return std::max<int64_t>(1, between(random, mean / 2, mean + mean / 2)); }
Seconds pauseOf(std::mt19937_64& random, Seconds mean) { return Seconds(-std::log(1 - evenly(random)) * mean.count()); }

std::string post(const std::string& path, const std::string& body, const std::string& more = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + more + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string promptOf(std::mt19937_64& random, int64_t tokens) {
  std::string ids;
  for (int64_t i = 0; i < tokens; ++i) ids += (i ? "," : "") + std::to_string(between(random, kFirstId, kLastId));
  return "[" + ids + "]";
}

/// A visit that asks for an answer.
Visit completion(const AnswerScript& script, std::mt19937_64& random) {
  Visit visit{.pause = pauseOf(random, script.pause)};
  const std::string prompt = promptOf(random, around(random, script.prompt_tokens));
  visit.wants_tokens = around(random, script.answer_tokens);
  visit.bytes = post("/v1/completions", R"({"model":")" + script.model + R"(","prompt":)" + prompt + R"(,"max_tokens":)" + std::to_string(visit.wants_tokens) +
                                            R"(,"ignore_eos":true,"temperature":1,"seed":)" + std::to_string(between(random, 0, 1 << 30)) +
                                            R"(,"stream":true,"stream_options":{"include_usage":true}})");
  return visit;
}

std::string bytesOf(std::mt19937_64& random, int64_t count) {
  std::string bytes;
  for (int64_t i = 0; i < count; ++i) bytes += static_cast<char>(random() & 255);
  return bytes;
}

/// Every kind once in turn, each with what the random numbers make of it. What the server answers is 4xx, or nothing where no line of it was HTTP.
std::string malformedRequest(const AnswerScript& script, std::mt19937_64& random, int kind) {
  const std::string name = script.model;
  const auto chat = [&](const std::string& fields) { return post("/v1/chat/completions", R"({"model":")" + name + R"(",)" + fields + "}"); };
  const auto complete = [&](const std::string& fields) { return post("/v1/completions", R"({"model":")" + name + R"(",)" + fields + "}"); };
  const std::string message = R"("messages":[{"role":"user","content":"x"}])";
  const std::function<std::string()> kinds[] = {
      [&] { return post("/v1/completions", bytesOf(random, between(random, 1, 300))); },
      [&] { return post("/v1/chat/completions", "{\"model\": \"" + name + "\", \"messages\": [{\"role\""); },
      [&] { return post("/v1/completions", std::string(static_cast<size_t>(between(random, 2000, 100'000)), '[')); },
      [&] { return complete(R"("prompt":[)" + std::to_string(between(random, 1 << 24, 1 << 30)) + "]"); },
      [&] { return complete(R"("prompt":[-1])"); },
      [&] { return complete(R"("prompt":[1,2],"max_tokens":)" + std::to_string(-between(random, 1, 1000))); },
      [&] { return complete(R"("prompt":[1,2],"temperature":1e400)"); },
      [&] { return complete(R"("prompt":[1,2],"top_p":"much")"); },
      [&] { return complete(R"("prompt":{})"); },
      [&] { return chat(R"("messages":[])"); },
      [&] { return chat(R"("messages":[{"role":"nobody","content":"x"}])"); },
      [&] { return chat(message + R"(,"stop":3)"); },
      [&] { return chat(message + R"(,"n":)" + std::to_string(between(random, 1000, 100'000))); },
      [&] { return chat(message + R"(,"temperature":-)" + std::to_string(between(random, 1, 9))); },
      [&] { return chat("\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]"); },
      [&] { return post("/v1/chat/completions", R"({"model":"another","messages":[{"role":"user","content":"x"}]})"); },
      [&] { return post("/v1/messages", R"({"model":")" + name + R"(","messages":[]})"); },
      [&] { return post("/v1/responses", R"({"model":")" + name + R"(","input":[{"type":"item_reference","id":"x"}]})"); },
      [&] { return post("/api/chat", R"({"model":")" + name + R"(","messages":"x"})"); },
      [&] { return post("/v1/completions", bytesOf(random, 200), "Content-Encoding: gzip\r\n"); },
      [&] { return post("/v1/completions", "{}", "Content-Encoding: rot13\r\n"); },
      [&] { return post("/v1/completions", "{}", "X-Long: " + std::string(100'000, 'x') + "\r\n"); },
      [&] { return post("/v1/nowhere/" + std::to_string(random()), "{}"); },
      [&] { return std::string("DELETE /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); },
      [&] { return std::string("GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n"); },
      [&] { return std::string("GET /%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); },
      [&] { return std::string("GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"); },
      [&] { return std::string("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 99999999999\r\n\r\n{}"); },
      [&] { return std::string("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"); },
      [&] { return "GET " + bytesOf(random, between(random, 5, 500)) + "\r\n\r\n"; },
      [&] { return bytesOf(random, between(random, 5, 2000)) + "\r\n\r\n"; },
  };
  return kinds[static_cast<size_t>(kind) % std::size(kinds)]();
}

}  // namespace

const char* name(VisitOutcome::End end) {
  switch (end) {
    case VisitOutcome::End::kWhole: return "whole";
    case VisitOutcome::End::kLeft: return "left";
    case VisitOutcome::End::kBroken: return "broken";
    case VisitOutcome::End::kTimedOut: return "timed out";
  }
  return "unknown";
}

Client answering(const AnswerScript& script, uint64_t seed, int number, int count) {
  std::mt19937_64 random = randomOf(seed, number, "answering");
  Client visits;
  for (int i = 0; i < count; ++i) visits.push_back(completion(script, random));
  return visits;
}

Client aborting(const AnswerScript& script, uint64_t seed, int number, int count) {
  std::mt19937_64 random = randomOf(seed, number, "leaving");
  Client visits;
  for (int i = 0; i < count; ++i) {
    Visit visit = completion(script, random);
    visit.kind = Visit::Kind::kAbort;
    visit.leave_after_pieces = static_cast<int>(between(random, -1, std::max<int64_t>(1, script.answer_tokens / 4)));
    visit.reset = random() & 1;
    visits.push_back(std::move(visit));
  }
  return visits;
}

Client slow(const AnswerScript& script, Seconds read_pause, uint64_t seed, int number, int count) {
  Client visits = answering(script, seed ^ 0x510, number, count);
  for (Visit& visit : visits) visit.kind = Visit::Kind::kSlow, visit.read_pause = read_pause;
  return visits;
}

Client malformed(const AnswerScript& script, uint64_t seed, int number, int count) {
  std::mt19937_64 random = randomOf(seed, number, "malformed");
  Client visits;
  for (int i = 0; i < count; ++i)
    visits.push_back({.kind = Visit::Kind::kMalformed, .pause = pauseOf(random, script.pause), .bytes = malformedRequest(script, random, number * count + i)});
  return visits;
}

Visit watching(Seconds pause) { return {.kind = Visit::Kind::kHealth, .pause = pause, .bytes = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"}; }

}  // namespace exo::load
