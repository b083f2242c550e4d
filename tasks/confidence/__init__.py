"""How far labels are to be trusted: the evidence behind them, calibration, and its scores."""
