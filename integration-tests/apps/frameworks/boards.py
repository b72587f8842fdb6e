"""A dashboard made by Vizro, which makes its own app of Dash."""

import pandas as pd
import vizro.models as vm
import vizro.plotly.express as px
from vizro import Vizro

sales = pd.DataFrame(
    {
        "region": ["North", "South", "East", "West"] * 3,
        "quarter": ["Q1"] * 4 + ["Q2"] * 4 + ["Q3"] * 4,
        "sold": [12, 7, 9, 15, 11, 8, 13, 14, 10, 12, 9, 16],
    }
)

page = vm.Page(
    title="Sales",
    components=[
        vm.Graph(id="sold", figure=px.bar(sales, x="quarter", y="sold", color="region")),
    ],
    controls=[vm.Filter(id="regions", column="region", selector=vm.Checklist(id="picked"))],
)
other = vm.Page(title="About", components=[vm.Card(id="about", text="Sales by region.")])

built = Vizro().build(vm.Dashboard(pages=[page, other], title="Boards"))
app = built.dash
