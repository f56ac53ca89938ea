"""Charts of the report: specifications of Vega and Vega-Lite as plain values, each with a table that says the same."""
