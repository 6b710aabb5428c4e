import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Products as they are, and every price that they ever had. */
export class CreateProducts1767225600000 implements MigrationInterface {
  readonly name = 'CreateProducts1767225600000';

  async up(queryRunner: QueryRunner): Promise<void> {
    // COLLATE "C": pages follow one another by bytes, whatever the locale of the server.
    await queryRunner.query(`
      CREATE TABLE products (
        sku text COLLATE "C" PRIMARY KEY,
        name text NOT NULL,
        kind text NOT NULL CHECK (kind IN ('stocked', 'charge')),
        currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
        price_minor bigint NOT NULL CHECK (price_minor BETWEEN 0 AND 9007199254740991),
        price_valid_from timestamptz NOT NULL,
        version integer NOT NULL CHECK (version > 0)
      )`);
    await queryRunner.query(`
      CREATE TABLE product_prices (
        sku text COLLATE "C" NOT NULL REFERENCES products,
        version integer NOT NULL CHECK (version > 0),
        valid_from timestamptz NOT NULL,
        price_minor bigint NOT NULL CHECK (price_minor BETWEEN 0 AND 9007199254740991),
        PRIMARY KEY (sku, version)
      )`);
  }

  async down(queryRunner: QueryRunner): Promise<void> {
    await queryRunner.query('DROP TABLE product_prices');
    await queryRunner.query('DROP TABLE products');
  }
}
