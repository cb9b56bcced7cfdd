// The catalogue of models, and the smallest of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/models/model_testing.h"

namespace cairn::worker {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Lr, GradientsAgreeWithCentralDifferences) {
  for (std::uint32_t rows : {1u, 50u})
    nn::CheckGradients(Builder(Model("lr {}")),
                       {.fields = nn::CategoricalFields(5, 1, 3), .rows = rows},
                       {.threads = 2, .block_rows = 16});
}

TEST(Lr, TablesOfAnotherWidthAreRefusedByName) {
  const Status status = BuildError(Model("lr {}"), nn::CategoricalFields(2, 16, 2));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("'f0'"), HasSubstr("16")));
}

TEST(Models, AreSortedAndFoundByTheKindThatIsSet) {
  for (std::size_t i = 1; i < Models().size(); ++i)
    EXPECT_LT(Models()[i - 1].name, Models()[i].name);
  EXPECT_EQ((*FindModel(Model("dlf {}")))->name, "dlf");
  EXPECT_EQ((*FindModel(Model("lr {}")))->name, "lr");
  EXPECT_EQ((*FindModel(Model("mgdin {}")))->name, "mgdin");
  const auto none = FindModel(proto::ModelConfig());
  EXPECT_EQ(none.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(none.status().message()), AllOf(HasSubstr("dlf"), HasSubstr("mgdin")));
}

}  // namespace
}  // namespace cairn::worker
