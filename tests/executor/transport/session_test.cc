// The proof of the session key: every bit of what both sides said is covered.
#include "executor/transport/session.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/executor/transport/links.h"

namespace exo::transport {
namespace {

struct Talk {
  Hello hello;
  Challenge challenge;
  Proof proof;
  Accept accept;
};

Talk goodTalk(const SessionKey& key) {
  Talk talk;
  talk.hello = *makeHello({1, 0, 2, static_cast<uint32_t>(Kind::kTcp), 7, 4096, 4});
  talk.challenge = *makeChallenge(key, talk.hello, Refusal::kNone, 0);
  talk.proof = makeProof(key, talk.hello, talk.challenge);
  talk.accept = makeAccept(key, talk.hello, talk.challenge);
  return talk;
}

bool accepted(const SessionKey& key, const Talk& talk) {
  return checkHello(talk.hello).ok() && checkChallenge(key, talk.hello, talk.challenge).ok() &&
         checkProof(key, talk.hello, talk.challenge, talk.proof).ok() &&
         checkAccept(key, talk.hello, talk.challenge, talk.accept).ok();
}

/// Flips each bit of `message` in turn.
template <class Message>
void expectEveryBitMatters(Talk& talk, Message& message) {
  auto* bytes = reinterpret_cast<unsigned char*>(&message);
  for (size_t bit = 0; bit < sizeof(message) * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<unsigned char>(1u << bit % 8);
    EXPECT_FALSE(accepted(testKey(), talk)) << "bit " << bit;
    bytes[bit / 8] ^= static_cast<unsigned char>(1u << bit % 8);
  }
}

TEST(Session, EveryBitMatters) {
  Talk talk = goodTalk(testKey());
  ASSERT_TRUE(accepted(testKey(), talk));
  expectEveryBitMatters(talk, talk.hello);
  expectEveryBitMatters(talk, talk.challenge);
  expectEveryBitMatters(talk, talk.proof);
  expectEveryBitMatters(talk, talk.accept);
  EXPECT_TRUE(accepted(testKey(), talk));
}

TEST(Session, AnotherKeyProvesNothing) { EXPECT_FALSE(accepted(testKey(2), goodTalk(testKey()))); }

TEST(Session, AnOldTalkCannotBeReplayed) {
  const Talk old = goodTalk(testKey());
  const Talk now = goodTalk(testKey());
  EXPECT_FALSE(checkProof(testKey(), now.hello, now.challenge, old.proof).ok());
  EXPECT_FALSE(checkChallenge(testKey(), now.hello, old.challenge).ok());
  // Nor can one message stand for another of the same talk.
  EXPECT_NE(now.challenge.mac, now.proof.mac);
  EXPECT_NE(now.proof.mac, now.accept.mac);
}

TEST(Session, ARefusalSaysWhy) {
  const Hello hello = *makeHello({1, 0, 2, static_cast<uint32_t>(Kind::kTcp), 7, 4096, 4});
  const Challenge challenge = *makeChallenge(testKey(), hello, Refusal::kEpoch, 8);
  const Status status = checkChallenge(testKey(), hello, challenge);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message().find("epoch 7, there 8"), std::string::npos) << status.error().message();
}

}  // namespace
}  // namespace exo::transport
