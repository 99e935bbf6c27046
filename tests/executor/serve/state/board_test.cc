#include "executor/serve/state/board.h"

#include <gtest/gtest.h>

namespace exo::serve {
namespace {

TEST(BoardTest, GivesWhatChangedAfterANumber) {
  Board board;
  board.set("a", 1);
  board.set("b", 2);
  EXPECT_EQ(board.number(), 2u);
  EXPECT_EQ(board.since(0), (nlohmann::json{{"a", 1}, {"b", 2}}));
  EXPECT_EQ(board.since(1), (nlohmann::json{{"b", 2}}));
  EXPECT_EQ(board.since(2), nlohmann::json::object());
}

TEST(BoardTest, TheSameValueIsNoChange) {
  Board board;
  board.set("a", {{"x", 1}});
  board.set("a", {{"x", 1}});
  EXPECT_EQ(board.number(), 1u);
  board.set("a", nullptr);
  EXPECT_EQ(board.since(1), (nlohmann::json{{"a", nullptr}}));
}

TEST(BoardTest, ASlowClientGetsTheNewestValueOnly) {
  Board board;
  for (int i = 0; i < 100; ++i) board.set("a", i);
  EXPECT_EQ(board.since(3), (nlohmann::json{{"a", 99}}));
}

TEST(BoardTest, NullIsAValueLikeOthers) {
  Board board;
  board.set("a", nullptr);
  EXPECT_EQ(board.number(), 1u);
  EXPECT_EQ(board.since(0), (nlohmann::json{{"a", nullptr}}));
}

}  // namespace
}  // namespace exo::serve
