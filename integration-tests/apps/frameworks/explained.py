"""A dashboard made by explainerdashboard, which makes its own app of Dash."""

import numpy as np
import pandas as pd
from explainerdashboard import ExplainerDashboard, RegressionExplainer
from sklearn.linear_model import LinearRegression

numbers = np.random.default_rng(1)
X = pd.DataFrame(numbers.normal(size=(60, 3)), columns=["age", "size", "rate"])
y = pd.Series(2 * X["age"] - X["size"] + numbers.normal(scale=0.1, size=60), name="price")
explainer = RegressionExplainer(LinearRegression().fit(X, y), X, y)
built = ExplainerDashboard(
    explainer,
    title="Prices",
    importances=True,
    model_summary=True,
    contributions=False,
    whatif=False,
    shap_dependence=False,
    shap_interaction=False,
    decision_trees=False,
)
app = built.app
