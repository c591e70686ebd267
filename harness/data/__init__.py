"""Market data: the calendar, the panel, and where panels come from.

`Calendar` and `Panel` are what everything above reads. A panel comes from a *source*, a frozen dataclass named in
``conf/data``:

========================  =================================================================================
`SyntheticMarket`         a simulated market whose best forecast in expectation is known
`TabularSource`           Parquet or CSV: long, wide, or a file per instrument
`QlibBinSource`           qlib's directory format
`DownloadSource`          an archive of that format, fetched by URL
`PublicSeries`            electricity load of UCI and irradiance of Folsom, fetched by URL
`PackagedSource`          a table that comes with the package
========================  =================================================================================

A user's own source needs the two methods of `harness.data.source.Source`. `raw_prices` adjusts what exporters write,
`validation` says what makes a panel acceptable, `convert` writes one, `fingerprint` identifies its whole content.
"""
