#include "common/base/status.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

Status Fail() { return absl::DataLossError("block 3"); }
Status FailWithContext(int shard) {
  RETURN_IF_ERROR(Fail(), "shard ", shard);
  return OkStatus();
}
Result<int> Three() { return 3; }
Result<int> Broken() { return absl::NotFoundError("no such file"); }
Result<int> AddOne(bool broken) {
  ASSIGN_OR_RETURN(const int x, broken ? Broken() : Three(), "adding one");
  return x + 1;
}

TEST(Status, ReturnIfErrorKeepsTheCodeAndAddsContext) {
  EXPECT_EQ(FailWithContext(2), absl::DataLossError("shard 2: block 3"));
}

TEST(Status, AssignOrReturnUnwrapsOrReturns) {
  EXPECT_EQ(AddOne(false).value(), 4);
  EXPECT_EQ(AddOne(true).status(), absl::NotFoundError("adding one: no such file"));
}

TEST(Status, ExitCodesFollowTheDocumentedTable) {
  EXPECT_EQ(ExitCodeOf(OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), 1);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::DataLossError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::PermissionDeniedError("")), 4);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 138);
}

}  // namespace
}  // namespace cairn
