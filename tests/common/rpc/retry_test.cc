#include "common/rpc/retry.h"

#include <glog/logging.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace cairn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A clock that stands still but for waits and for what a test adds.
class FakeClock : public RetryClock {
 public:
  std::int64_t NowMs() override { return now_ms_; }
  bool Wait(std::int64_t milliseconds, const CancelToken* cancel) override {
    waits_.push_back(milliseconds);
    if (cancel_at_wait_ == static_cast<int>(waits_.size())) return true;
    now_ms_ += milliseconds;
    return cancel != nullptr && cancel->IsCancelled();
  }
  void Pass(std::int64_t milliseconds) { now_ms_ += milliseconds; }
  const std::vector<std::int64_t>& waits() const { return waits_; }
  void CancelAtWait(int n) { cancel_at_wait_ = n; }

 private:
  std::int64_t now_ms_ = 1000;
  std::vector<std::int64_t> waits_;
  int cancel_at_wait_ = 0;
};

// Lines that were logged while it lives.
class LogLines : public google::LogSink {
 public:
  LogLines() { google::AddLogSink(this); }
  ~LogLines() override { google::RemoveLogSink(this); }
  void send(google::LogSeverity, const char*, const char*, int, const google::LogMessageTime&,
            const char* message, std::size_t size) override {
    lines.emplace_back(message, size);
  }
  std::vector<std::string> lines;
};

class RetryTest : public testing::Test {
 protected:
  RetryTest() { policy_.clock = &clock_; }
  Status Call(const std::function<Status(std::int64_t)>& try_once) {
    return CallWithRetry(policy_, "pull from ps 1 (10.0.0.2:7001)", try_once);
  }
  FakeClock clock_;
  RetryPolicy policy_;
};

TEST_F(RetryTest, AnswersAfterFailures) {
  int tries = 0;
  EXPECT_TRUE(Call([&](std::int64_t deadline_ms) {
                EXPECT_EQ(deadline_ms, 10000);
                if (++tries == 1) return absl::UnavailableError("refused");
                if (tries == 2) return absl::DeadlineExceededError("slow");
                return OkStatus();
              }).ok());
  EXPECT_EQ(tries, 3);
  EXPECT_EQ(clock_.waits().size(), 2u);
}

TEST_F(RetryTest, GivesUpAndSaysWhatWhereHowOftenAndHowLong) {
  policy_.total_ms = 1000;
  policy_.first_pause_ms = 100;
  policy_.largest_pause_ms = 100;
  int tries = 0;
  const Status status = Call([&](std::int64_t) {
    ++tries;
    clock_.Pass(300);
    return absl::UnavailableError("connection refused");
  });
  EXPECT_EQ(tries, 3);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              testing::MatchesRegex("pull from ps 1 \\(10\\.0\\.0\\.2:7001\\): gave up after 3 "
                                    "tries in 1\\.0 s: connection refused"));
}

TEST_F(RetryTest, TheLastTryDoesNotReachBeyondTheTotal) {
  policy_.total_ms = 15000;
  std::vector<std::int64_t> deadlines;
  EXPECT_FALSE(Call([&](std::int64_t deadline_ms) {
                 deadlines.push_back(deadline_ms);
                 clock_.Pass(deadline_ms);
                 return absl::DeadlineExceededError("no answer");
               }).ok());
  ASSERT_EQ(deadlines.size(), 2u);
  EXPECT_EQ(deadlines[0], 10000);
  EXPECT_LE(deadlines[1], 5000);
  EXPECT_GE(deadlines[1], 4900);
}

TEST_F(RetryTest, OneTryIsMadeWithoutAnyTime) {
  policy_.total_ms = 0;
  int tries = 0;
  const Status status = Call([&](std::int64_t deadline_ms) {
    ++tries;
    EXPECT_EQ(deadline_ms, 1);
    return absl::UnavailableError("x");
  });
  EXPECT_EQ(tries, 1);
  EXPECT_THAT(std::string(status.message()), HasSubstr("gave up after 1 try in 0.0 s"));
}

TEST_F(RetryTest, OtherErrorsAreFinal) {
  for (const auto code : {absl::StatusCode::kInvalidArgument, absl::StatusCode::kAborted,
                          absl::StatusCode::kDataLoss, absl::StatusCode::kResourceExhausted}) {
    int tries = 0;
    const Status status = Call([&](std::int64_t) {
      ++tries;
      return Status(code, "no");
    });
    EXPECT_EQ(tries, 1);
    EXPECT_EQ(status, Status(code, "pull from ps 1 (10.0.0.2:7001): no"));
  }
}

TEST_F(RetryTest, ThePredicateAddsCodes) {
  policy_.also_retry = [](const Status& status) {
    return status.code() == absl::StatusCode::kResourceExhausted;
  };
  int tries = 0;
  EXPECT_TRUE(Call([&](std::int64_t) {
                return ++tries < 3 ? absl::ResourceExhaustedError("busy") : OkStatus();
              }).ok());
  EXPECT_EQ(tries, 3);
}

TEST_F(RetryTest, PausesDoubleUpToTheLargestWithJitterThatCanBeRepeated) {
  policy_.first_pause_ms = 100;
  policy_.largest_pause_ms = 1000;
  std::vector<std::int64_t> pauses;
  for (int n = 0; n < 50; ++n) {
    const std::int64_t full = n < 4 ? 100 << n : 1000;
    pauses.push_back(RetryPauseMs(policy_, n));
    EXPECT_GE(pauses.back(), full / 2);
    EXPECT_LT(pauses.back(), full);
    EXPECT_EQ(RetryPauseMs(policy_, n), pauses.back());
  }
  policy_.seed = 1;
  int equal = 0;
  for (int n = 0; n < 50; ++n) equal += RetryPauseMs(policy_, n) == pauses[n] ? 1 : 0;
  EXPECT_LT(equal, 10) << "another seed gives other pauses";
}

TEST_F(RetryTest, LongWaitsAreLoggedOnceInAWhile) {
  policy_.total_ms = 60000;
  policy_.deadline_ms = 1000;
  LogLines log;
  int tries = 0;
  EXPECT_FALSE(Call([&](std::int64_t) {
                 ++tries;
                 return absl::UnavailableError("connection refused");
               }).ok());
  EXPECT_GT(tries, 20);
  EXPECT_GE(log.lines.size(), 4u);
  EXPECT_LE(log.lines.size(), 5u);
  for (const std::string& line : log.lines) {
    EXPECT_THAT(line, HasSubstr("waiting for pull from ps 1 (10.0.0.2:7001) since "));
    EXPECT_THAT(line, HasSubstr("connection refused"));
  }
}

TEST_F(RetryTest, ShortWaitsAreNot) {
  policy_.total_ms = 9000;
  LogLines log;
  EXPECT_FALSE(Call([](std::int64_t) { return absl::UnavailableError("x"); }).ok());
  EXPECT_TRUE(log.lines.empty());
}

TEST_F(RetryTest, CancelledBeforeTheFirstTry) {
  CancelToken cancel;
  cancel.Cancel();
  policy_.cancel = &cancel;
  const Status status = Call([](std::int64_t) -> Status {
    ADD_FAILURE() << "tried";
    return OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST_F(RetryTest, CancelledWhileWaiting) {
  CancelToken cancel;
  policy_.cancel = &cancel;
  clock_.CancelAtWait(2);
  int tries = 0;
  const Status status = Call([&](std::int64_t) {
    ++tries;
    return absl::UnavailableError("x");
  });
  EXPECT_EQ(tries, 2);
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(std::string(status.message()), HasSubstr("after 2 tries"));
}

// With the machine's clock: the wait would last an hour without the other thread.
TEST(Retry, AnotherThreadEndsTheWait) {
  CancelToken cancel;
  RetryPolicy policy;
  policy.cancel = &cancel;
  policy.total_ms = 36'000'000;
  policy.first_pause_ms = policy.largest_pause_ms = 7'200'000;
  std::thread other;
  const Status status = CallWithRetry(policy, "x", [&](std::int64_t) {
    other = std::thread([&cancel] { cancel.Cancel(); });
    return absl::UnavailableError("down");
  });
  other.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace cairn
