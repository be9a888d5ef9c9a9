"""PostgreSQL: connections, migrations, index versions, partitions."""
