"""zborg sink, through typer or around it."""
